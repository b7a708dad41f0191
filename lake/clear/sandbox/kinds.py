"""The reviewed values of every enumeration in DuckDB's syntax tree: what a query may hold, and why not the rest.

Only ``allowed`` counts at the guard; anything else is refused. The refused ones are listed so that every value of the
installed DuckDB has been looked at: a test probes its deserializer for all of them, and fails when an upgrade brings a
value, or an enumeration, that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kinds:
    """Values of one enumeration.

    Attributes:
        allowed: may stand in a query.
        refused: may not.
        reason: why not.
    """

    allowed: frozenset[str]
    refused: frozenset[str] = frozenset()
    reason: str = ""


def _kinds(allowed: str, refused: str = "", reason: str = "") -> Kinds:
    return Kinds(frozenset(allowed.split()), frozenset(refused.split()), reason)


_NEVER_PARSED = "never made by the parser"

ENUMS: Mapping[str, Kinds] = {
    "QueryNodeType": _kinds(
        "SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE",
        """COPY_QUERY_NODE DELETE_QUERY_NODE INSERT_QUERY_NODE MERGE_QUERY_NODE UPDATE_QUERY_NODE
        CTE_NODE BOUND_SUBQUERY_NODE STATEMENT_NODE""",
        "change data, or are never made by the parser",
    ),
    "TableReferenceType": _kinds(
        "BASE_TABLE EMPTY EXPRESSION_LIST JOIN PIVOT SHOW_REF SUBQUERY TABLE_FUNCTION",
        "BOUND_TABLE_REF COLUMN_DATA CTE DELIM_GET INVALID",
        _NEVER_PARSED,
    ),
    "ExpressionClass": _kinds(
        """BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR PARAMETER
        POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW""",
        """AGGREGATE BOUND_AGGREGATE BOUND_CASE BOUND_COLUMN_REF BOUND_CONJUNCTION BOUND_CONSTANT BOUND_DEFAULT
        BOUND_EXPANDED BOUND_FUNCTION BOUND_LAMBDA BOUND_LAMBDA_REF BOUND_OPERATOR BOUND_PARAMETER BOUND_REF
        BOUND_SUBQUERY BOUND_UNNEST BOUND_WINDOW DEFAULT INVALID LAMBDA_REF LEGACY_BOUND_BETWEEN LEGACY_BOUND_CAST
        LEGACY_BOUND_COMPARISON""",
        "DEFAULT belongs to INSERT; the others are never made by the parser",
    ),
    "ExpressionType": _kinds(
        """ARRAY_EXTRACT ARRAY_SLICE CASE_EXPR COLLATE COLUMN_REF COMPARE_BETWEEN COMPARE_DISTINCT_FROM COMPARE_EQUAL
        COMPARE_GREATERTHAN COMPARE_GREATERTHANOREQUALTO COMPARE_IN COMPARE_LESSTHAN COMPARE_LESSTHANOREQUALTO
        COMPARE_NOTEQUAL COMPARE_NOT_BETWEEN COMPARE_NOT_DISTINCT_FROM COMPARE_NOT_IN CONJUNCTION_AND CONJUNCTION_OR
        FUNCTION GROUPING_FUNCTION INVALID LAMBDA OPERATOR_CAST OPERATOR_COALESCE OPERATOR_IS_NOT_NULL OPERATOR_IS_NULL
        OPERATOR_NOT OPERATOR_TRY OPERATOR_UNPACK POSITIONAL_REFERENCE STAR STRUCT_EXTRACT SUBQUERY TYPE
        VALUE_CONSTANT VALUE_PARAMETER WINDOW_AGGREGATE WINDOW_CUME_DIST WINDOW_FILL WINDOW_FIRST_VALUE WINDOW_LAG
        WINDOW_LAST_VALUE WINDOW_LEAD WINDOW_NTH_VALUE WINDOW_NTILE WINDOW_PERCENT_RANK WINDOW_RANK WINDOW_RANK_DENSE
        WINDOW_ROW_NUMBER""",
        """AGGREGATE ARRAY_CONSTRUCTOR ARROW BOUND_AGGREGATE BOUND_COLUMN_REF BOUND_EXPANDED BOUND_FUNCTION
        BOUND_LAMBDA_REF BOUND_REF BOUND_UNNEST CAST FUNCTION_REF LAMBDA_REF OPERATOR_NULLIF PLACEHOLDER TABLE_REF
        TABLE_STAR VALUE_DEFAULT VALUE_NULL VALUE_SCALAR VALUE_TUPLE VALUE_TUPLE_ADDRESS VALUE_VECTOR
        WINDOW_FUNCTION""",
        _NEVER_PARSED,
    ),
    "AggregateHandling": _kinds("STANDARD_HANDLING FORCE_AGGREGATES", "NO_AGGREGATES_ALLOWED", _NEVER_PARSED),
    "LiteralKind": _kinds("BIT BOOLEAN HEX INTEGER NULL_LITERAL NUMERIC STRING", "INVALID POINTER", "an address"),
    "JoinType": _kinds(
        "INNER LEFT RIGHT FULL SEMI ANTI", "INVALID MARK RIGHT_ANTI RIGHT_SEMI SINGLE", "made by the planner"
    ),
    "JoinRefType": _kinds("REGULAR NATURAL CROSS POSITIONAL ASOF", "DEPENDENT NEAREST", "not reviewed"),
    "OrderType": _kinds("ASCENDING DESCENDING ORDER_DEFAULT", "ASC DEFAULT DESC INVALID", "other spellings"),
    "OrderByNullType": Kinds(
        frozenset({"NULLS FIRST", "NULLS LAST", "ORDER_DEFAULT"}),
        frozenset({"DEFAULT", "INVALID", "NULLS_FIRST", "NULLS_LAST"}),
        "other spellings",
    ),
    "ResultModifierType": _kinds(
        "DISTINCT_MODIFIER LIMIT_MODIFIER ORDER_MODIFIER", "LEGACY_LIMIT_PERCENT_MODIFIER", _NEVER_PARSED
    ),
    "OrdinalityType": _kinds("WITHOUT_ORDINALITY WITH_ORDINALITY"),
    "CTEMaterialize": _kinds("CTE_MATERIALIZE_ALWAYS CTE_MATERIALIZE_DEFAULT CTE_MATERIALIZE_NEVER"),
    "WindowBoundary": _kinds(
        """CURRENT_ROW_GROUPS CURRENT_ROW_RANGE CURRENT_ROW_ROWS EXPR_FOLLOWING_GROUPS EXPR_FOLLOWING_RANGE
        EXPR_FOLLOWING_ROWS EXPR_PRECEDING_GROUPS EXPR_PRECEDING_RANGE EXPR_PRECEDING_ROWS UNBOUNDED_FOLLOWING
        UNBOUNDED_PRECEDING""",
        "INVALID",
        _NEVER_PARSED,
    ),
    "WindowExcludeMode": _kinds("CURRENT_ROW GROUP NO_OTHER TIES"),
    "LambdaSyntaxType": _kinds("LAMBDA_KEYWORD SINGLE_ARROW", "SINGLE_ARROW_STORAGE", _NEVER_PARSED),
    "SetOperationType": _kinds("EXCEPT INTERSECT UNION UNION_BY_NAME", "NONE", _NEVER_PARSED),
    "LimitValueType": _kinds("PERCENTAGE ROW_COUNT"),
    "SubqueryType": _kinds("ANY EXISTS NOT_EXISTS SCALAR", "INVALID", _NEVER_PARSED),
    "SampleMethod": _kinds("Bernoulli Reservoir System", "Invalid", _NEVER_PARSED),
    "ShowType": _kinds("DESCRIBE SUMMARY", "SHOW SHOW_FROM SHOW_SPECIAL", "list tables and databases"),
    "LogicalTypeId": Kinds(
        frozenset({"BIGINT", "DOUBLE"}),
        frozenset(
            """ANY ARRAY BIGNUM BIT BLOB BOOLEAN CHAR DATE DECIMAL ENUM FLOAT GEOMETRY HUGEINT INTEGER INTEGER_LITERAL
            INTERVAL INVALID LAMBDA LEGACY_AGGREGATE_STATE LIST MAP NULL POINTER SMALLINT STRING_LITERAL STRUCT TABLE
            TEMPLATE TIME TIMESTAMP TIMESTAMPTZ_NS TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TIME_NS TINYINT TUPLE TYPE
            UBIGINT UHUGEINT UINTEGER UNBOUND UNION UNKNOWN USMALLINT UTINYINT UUID VALIDITY VARCHAR VARIANT""".split()  # noqa: SIM905
        )
        | {"TIME WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"},
        "only the size of a sample is a value in the tree; types of casts are names, see names.py",
    ),
}
"""By the enumeration's name, as DuckDB's own errors give it."""
