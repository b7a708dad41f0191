"""The reviewed list of DuckDB functions: what a query may call, and why everything else may not be called.

Only the ``ALLOWED`` names count at the guard; a name found nowhere is refused. The refused groups exist so that every
function of the installed DuckDB has been looked at: a test fails when an upgrade brings a name that is in neither.
A function belongs to ``ALLOWED`` only if its result depends on its arguments alone (or on the clock, or on chance). It
must never read settings, catalog, files, sequences or logs, and never change anything.

Allowed functions may still use much memory or time (``repeat``, ``lpad``, ``range``, ``levenshtein``, ``printf``,
``bitstring``, ``list_resize``, regular expressions, ``factorial``): no list of names can stop that. The limits of
the worker process contain it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Function names (lower case) that share one reason."""

    reason: str
    names: frozenset[str]


def _group(reason: str, names: str) -> Group:
    return Group(reason, frozenset(names.split()))


SCALAR_GROUPS = (
    _group(
        "operators and arithmetic: pure",
        """!= !__postfix !~~ !~~* % & && * ** + - ->> / // < <-> << <= <=> <@ = > >= >> @ @> ^ ^@ | || ~ ~~ ~~* ~~~
        add divide like_escape ilike_escape mod multiply not_ilike_escape not_like_escape subtract xor fdiv fmod
        greatest least if nullif""",
    ),
    _group(
        "mathematics: pure",
        """abs acos acosh asin asinh atan atan2 atanh binom cbrt ceil ceiling cos cosh cot degrees even exp factorial
        floor gamma gcd greatest_common_divisor isfinite isinf isnan lcm least_common_multiple lgamma ln log log10
        log2 nextafter pi pow power radians round round_even roundbankers sign signbit sin sinh sqrt tan tanh trunc
        equi_width_bins is_histogram_other_bin bar""",
    ),
    _group(
        "text: pure; repeat, lpad, rpad, printf, format and edit distances can be made expensive",
        """array_to_string array_to_string_comma_default ascii bit_length char_length character_length chr concat
        concat_ws contains damerau_levenshtein editdist3 ends_with format formatreadabledecimalsize
        formatreadablesize format_bytes hamming instr jaccard jaro_similarity jaro_winkler_similarity lcase left
        left_grapheme len length length_grapheme levenshtein lower lpad ltrim mismatches nfc_normalize octet_length
        ord overlay parse_dirname parse_dirpath parse_filename parse_formatted_bytes parse_path position prefix
        printf repeat replace reverse right right_grapheme rpad rtrim split split_part starts_with str_split
        str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos substr substring
        substring_grapheme suffix translate trim ucase unicode upper url_decode url_encode""",
    ),
    _group(
        "regular expressions (RE2, linear time): pure",
        """regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
        regexp_split_to_array regexp_split_to_table""",
    ),
    _group(
        "encodings, bits and digests: pure",
        """base64 bin bit_count bit_position bitstring decode encode from_base64 from_binary from_hex get_bit hash hex
        md5 md5_number md5_number_lower md5_number_upper set_bit sha1 sha256 to_base to_base64 to_binary to_hex unbin
        unhex uuid_extract_timestamp uuid_extract_version""",
    ),
    _group(
        "dates and times: pure",
        """age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
        dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear
        julian last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz
        microsecond millennium millisecond minute month monthname nanosecond normalized_interval quarter second
        strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours
        to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks
        to_years try_strptime week weekday weekofyear year yearweek""",
    ),
    _group(
        "the clock: not reproducible, but shows nothing of the lake, and relative time windows need it",
        """ago current_date current_localtime current_localtimestamp get_current_time get_current_timestamp now today
        transaction_timestamp""",
    ),
    _group(
        "chance: not reproducible, but shows nothing of the lake; REPEATABLE and hash() are reproducible",
        "gen_random_uuid random uuid uuidv4 uuidv7",
    ),
    _group(
        "lists and arrays, lambdas included: pure; list_resize and range can be made large",
        """apply array_append array_apply array_cat array_concat array_contains array_cosine_distance
        array_cosine_similarity array_cross_product array_distance array_distinct array_dot_product array_extract
        array_filter array_grade_up array_has array_has_all array_has_any array_indexof array_inner_product
        array_intersect array_length array_negative_dot_product array_negative_inner_product array_pop_back
        array_pop_front array_position array_prepend array_push_back array_push_front array_reduce array_resize
        array_reverse array_reverse_sort array_select array_slice array_sort array_transform array_unique array_value
        array_where array_zip filter flatten generate_series generate_subscripts grade_up list_append list_apply
        list_cat list_concat list_contains list_cosine_distance list_cosine_similarity list_distance list_distinct
        list_dot_product list_element list_extract list_filter list_grade_up list_has list_has_all list_has_any
        list_indexof list_inner_product list_intersect list_negative_dot_product list_negative_inner_product list_pack
        list_position list_prepend list_reduce list_resize list_reverse list_reverse_sort list_select list_slice
        list_sort list_transform list_unique list_value list_where list_zip range reduce unnest""",
    ),
    _group(
        "one aggregate over one list, the aggregate fixed by the name: pure",
        """list_any_value list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor list_bool_and
        list_bool_or list_count list_entropy list_first list_histogram list_kurtosis list_kurtosis_pop list_last
        list_mad list_max list_median list_min list_mode list_product list_sem list_skewness list_stddev_pop
        list_stddev_samp list_string_agg list_sum list_var_pop list_var_samp""",
    ),
    _group(
        "one aggregate over one list, the aggregate named by a string: the guard demands a constant allowed name",
        "aggregate array_aggr array_aggregate list_aggr list_aggregate",
    ),
    _group(
        "structs, maps, unions and enums: pure",
        """cardinality element_at enum_code enum_first enum_last enum_range enum_range_boundary map map_concat
        map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value map_from_entries
        map_keys map_values row struct_concat struct_contains struct_extract struct_extract_at struct_has
        struct_indexof struct_insert struct_keys struct_pack struct_position struct_update struct_values typeof
        union_extract union_tag union_value""",
    ),
    _group(
        "the caller's own names for columns, and casts to the type of another value: pure",
        "alias cast_to_type",
    ),
    _group(
        "JSON to a type that is named in a string: the guard demands a constant that names allowed types alone",
        "from_json from_json_strict json_transform json_transform_strict",
    ),
    _group(
        "JSON values: pure",
        """array_to_json json json_array json_array_length json_contains json_deep_merge json_exists json_extract
        json_extract_path json_extract_path_text json_extract_string json_insert json_keys json_merge_patch
        json_merge_patch_diff json_object json_pretty json_quote json_remove json_replace json_set json_strip_nulls
        json_structure json_type json_valid json_value row_to_json to_json""",
    ),
)

AGGREGATE_GROUPS = (
    _group(
        "statistics over the caller's own rows: pure",
        """any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null
        arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg bit_and bit_or bit_xor
        bitstring_agg bool_and bool_or corr count count_if count_star countif covar_pop covar_samp entropy favg first
        fsum geomean geometric_mean group_concat histogram histogram_exact json_group_array json_group_object
        json_group_structure kahan_sum kurtosis kurtosis_pop last list listagg lttb mad max max_by mean median min
        min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2
        regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop stddev_samp string_agg sum sumkahan
        var_pop var_samp variance wavg weighted_avg""",
    ),
)

WINDOW_GROUPS = (
    _group(
        "positions and ranks in a window: pure",
        """cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense
        row_number""",
    ),
)

TABLE_GROUPS = (_group("rows made from the arguments: pure", "generate_series json_each json_tree range unnest"),)

REFUSED_GROUPS = (
    _group(
        "raise text on demand, or burn time",
        "assert_true error sleep_ms",
    ),
    _group(
        "state that outlives a row: sequences, and the seed of a connection (the order of calls in a query is open)",
        "currval nextval setseed setval",
    ),
    _group(
        "read or write settings, variables, the session, the catalog or the log",
        """current_catalog current_connection_id current_database current_query current_query_id current_role
        current_schema current_schemas current_setting current_transaction_id current_user get_block_size getvariable
        in_search_path index_key parse_duckdb_log_message session_user truncate_duckdb_logs txid_current user version
        write_log which_secret seq_scan sniff_csv glob parquet_bloom_probe parquet_file_metadata
        parquet_full_metadata parquet_kv_metadata parquet_metadata parquet_scan parquet_schema summary checkpoint
        force_checkpoint enable_logging disable_logging enable_profiling disable_profiling create_external_resource
        deregister_external_resource destroy_external_resource register_external_resource
        register_external_resource_type""",
    ),
    _group(
        "PostgreSQL catalog look-alikes",
        """col_description format_pg_type format_type has_any_column_privilege has_column_privilege
        has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
        has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
        has_tablespace_privilege inet_client_addr inet_client_port inet_server_addr inet_server_port map_to_pg_oid
        obj_description shobj_description""",
    ),
    _group(
        "run SQL held in a string, or read and write plans",
        """json_deserialize_sql json_execute_serialized_sql json_serialize_plan json_serialize_sql query query_table""",
    ),
    _group(
        "name or show types as values, past the guard's list of types",
        "can_cast_implicitly get_type make_type remap_struct replace_type to_aggregate_state",
    ),
    _group(
        "show statistics, vectors, sort keys or other internals of the engine",
        """bitstring_byte_comparable combine combine_aggr constant_or_null create_sort_key decimal_average
        decimal_division finalize hive_partition_component icu_sort_key invoke json_copy_strftime_if_date
        json_copy_strftime_if_timestamp json_normalize path_join stats sum_no_overflow switch timetz_byte_comparable
        unpivot_list vector_type vertex_extract""",
    ),
    _group(
        "read memory addresses or Python objects, or exist for tests of the engine",
        """arrow_scan arrow_scan_dumb icu_calendar_names pandas_scan python_arrow_scan python_map_function repeat_row
        test_all_types test_vector_types""",
    ),
    _group(
        "reads a table that is named in a string",
        "histogram_values",
    ),
    Group("operators, never needed as a name", frozenset({"is distinct from", "is not distinct from"})),
    _group(
        "PRAGMA statements",
        """add_parquet_key collations copy_database database_list database_size disable_checkpoint_on_shutdown
        disable_object_cache disable_optimizer disable_print_progress_bar disable_profile disable_progress_bar
        disable_verification disable_verify_parallelism enable_checkpoint_on_shutdown enable_object_cache
        enable_optimizer enable_print_progress_bar enable_profile enable_progress_bar enable_verification
        extension_versions functions import_database metadata_info platform show show_databases show_tables
        show_tables_expanded storage_info table_info user_agent verify_parallelism""",
    ),
)

REFUSED_PREFIXES = {
    "__": "internal to the optimizer",
    "collate_": "collations are asked for with COLLATE",
    "duckdb_": "the catalog, settings, secrets, memory and logs of the engine",
    "icu_collate_": "collations are asked for with COLLATE",
    "pg_": "PostgreSQL catalog look-alikes",
    "pragma_": "the catalog and settings of the engine",
    "read_": "files",
    "st_": "geometry, which telemetry does not have",
    "variant_": "VARIANT, which the lake does not store",
}


def _union(groups: tuple[Group, ...]) -> frozenset[str]:
    return frozenset().union(*(group.names for group in groups))


SCALARS = _union(SCALAR_GROUPS)
AGGREGATES = _union(AGGREGATE_GROUPS)
WINDOWS = _union(WINDOW_GROUPS)
TABLE_FUNCTIONS = _union(TABLE_GROUPS)
CALLABLE = SCALARS | AGGREGATES
"""May appear as a plain call."""
OVER_WINDOW = AGGREGATES | WINDOWS
"""May appear with OVER."""
ALLOWED = CALLABLE | WINDOWS | TABLE_FUNCTIONS
REFUSED = _union(REFUSED_GROUPS)
AGGREGATE_BY_NAME = frozenset({"aggregate", "array_aggr", "array_aggregate", "list_aggr", "list_aggregate"})
"""Take the name of an aggregate as their second argument."""
TYPES_BY_NAME = frozenset({"from_json", "from_json_strict", "json_transform", "json_transform_strict"})
"""Take the names of types, in JSON, as their second argument."""
VOLATILE = frozenset(
    """ago current_date current_localtime current_localtimestamp gen_random_uuid get_current_time
    get_current_timestamp now random reservoir_quantile today transaction_timestamp uuid uuidv4 uuidv7""".split()  # noqa: SIM905
)
"""Give another result when they are called again: the clock and chance."""
CLOCK_NAMES = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""The clock without parentheses, which arrives as a column."""
ROW_MAKING = frozenset({"generate_subscripts", "regexp_split_to_table", "unnest"})
"""Scalars that make several rows of one."""


def is_reviewed(name: str) -> bool:
    """Tell whether this function name (any case) has been classified, as allowed or as refused."""
    folded = name.lower()
    return folded in ALLOWED or folded in REFUSED or folded.startswith(tuple(REFUSED_PREFIXES))
