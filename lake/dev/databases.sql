-- Two databases: who reads the catalog does not reach the keys. Run by psql as the superuser, as often as one likes;
-- what each role may do with the tables is in grants.sql.
\set ON_ERROR_STOP on
\set owner `cat secrets/catalog.owner.password`
\set gateway `cat secrets/catalog.gateway.password`
\set ingest `cat secrets/catalog.ingest.password`
\set jobs `cat secrets/catalog.jobs.password`
\set keys `cat secrets/keys.password`
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', role, password)
  FROM (VALUES ('lake_owner', :'owner'), ('lake_gateway', :'gateway'), ('lake_ingest', :'ingest'),
               ('lake_jobs', :'jobs'), ('lake_keys', :'keys')) AS wanted (role, password)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0', name, owner)
  FROM (VALUES ('lake_catalog', 'lake_owner'), ('lake_keys', 'lake_keys')) AS wanted (name, owner)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE lake_catalog, lake_keys, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE lake_catalog TO lake_gateway, lake_ingest, lake_jobs;
