-- What each host may do in the catalog, as docs/operations/postgresql.md says. Run as its owner, after 'lake init' and
-- after each 'lake upgrade'.
GRANT USAGE ON SCHEMA lake_catalog TO lake_gateway, lake_ingest, lake_jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA lake_catalog TO lake_gateway, lake_ingest, lake_jobs;
GRANT INSERT ON lake_catalog.commits, lake_catalog.actors TO lake_gateway, lake_ingest, lake_jobs;
GRANT INSERT ON lake_catalog.elevations TO lake_gateway;
GRANT INSERT ON lake_catalog.directory, lake_catalog.batches, lake_catalog.outcomes, lake_catalog.files TO lake_ingest;
GRANT INSERT, UPDATE ON lake_catalog.leases_issued, lake_catalog.acknowledgements, lake_catalog.refusals TO lake_ingest;
GRANT DELETE ON lake_catalog.leases_issued TO lake_ingest;
GRANT INSERT ON lake_catalog.files, lake_catalog.removals TO lake_jobs;
GRANT UPDATE (kek_id, kek_version, wrapped_dek, removed_seq) ON lake_catalog.files TO lake_jobs;
GRANT INSERT, UPDATE, DELETE ON lake_catalog.marks TO lake_jobs;
GRANT INSERT, UPDATE ON lake_catalog.leases TO lake_jobs;
GRANT INSERT, UPDATE, DELETE ON lake_catalog.job_runs, lake_catalog.job_items TO lake_jobs;
GRANT INSERT, UPDATE, DELETE ON lake_catalog.quarantine TO lake_jobs;
