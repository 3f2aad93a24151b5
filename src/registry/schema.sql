-- The metadata as repmgr 5 lays it out, for a database without the repmgr extension. Columns, views and functions have the names and types
-- that the real repmgr expects of its extension, so that its read-only commands and its switchover work beside pgbaton: without the
-- functions below, `repmgr standby switchover` stops the primary and then waits for an answer that never comes.
CREATE SCHEMA IF NOT EXISTS repmgr;

CREATE TABLE IF NOT EXISTS repmgr.nodes (
  node_id          integer     PRIMARY KEY,
  upstream_node_id integer     NULL REFERENCES repmgr.nodes (node_id) DEFERRABLE,
  active           boolean     NOT NULL DEFAULT true,
  node_name        text        NOT NULL,
  type             text        NOT NULL CHECK (type IN ('primary', 'standby', 'witness', 'bdr')),
  location         text        NOT NULL DEFAULT 'default',
  priority         integer     NOT NULL DEFAULT 100,
  conninfo         text        NOT NULL,
  repluser         varchar(63) NOT NULL,
  slot_name        text        NULL,
  config_file      text        NOT NULL
);

CREATE TABLE IF NOT EXISTS repmgr.events (
  node_id         integer     NOT NULL,
  event           text        NOT NULL,
  successful      boolean     NOT NULL DEFAULT true,
  event_timestamp timestamptz NOT NULL DEFAULT current_timestamp,
  details         text        NULL
);

CREATE TABLE IF NOT EXISTS repmgr.monitoring_history (
  primary_node_id           integer     NOT NULL,
  standby_node_id           integer     NOT NULL,
  last_monitor_time         timestamptz NOT NULL,
  last_apply_time           timestamptz,
  last_wal_primary_location pg_lsn      NOT NULL,
  last_wal_standby_location pg_lsn,
  replication_lag           bigint      NOT NULL,
  apply_lag                 bigint      NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_monitoring_history_time
  ON repmgr.monitoring_history (last_monitor_time, standby_node_id);

CREATE TABLE IF NOT EXISTS repmgr.voting_term (term integer NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS voting_term_restrict ON repmgr.voting_term ((true));
CREATE OR REPLACE RULE voting_term_delete AS ON DELETE TO repmgr.voting_term DO INSTEAD NOTHING;
INSERT INTO repmgr.voting_term (term) SELECT 1 WHERE NOT EXISTS (SELECT FROM repmgr.voting_term);

CREATE OR REPLACE FUNCTION repmgr.get_local_node_id() RETURNS integer LANGUAGE sql STABLE AS 'SELECT NULL::integer';
CREATE OR REPLACE FUNCTION repmgr.get_upstream_last_seen() RETURNS integer LANGUAGE sql STABLE AS 'SELECT -1';
CREATE OR REPLACE FUNCTION repmgr.get_upstream_node_id() RETURNS integer LANGUAGE sql STABLE AS 'SELECT -1';
CREATE OR REPLACE FUNCTION repmgr.get_repmgrd_pid() RETURNS integer LANGUAGE sql STABLE AS 'SELECT -1';
CREATE OR REPLACE FUNCTION repmgr.repmgrd_is_running() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT false';
CREATE OR REPLACE FUNCTION repmgr.repmgrd_is_paused() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT false';
CREATE OR REPLACE FUNCTION repmgr.repmgrd_pause(boolean) RETURNS void LANGUAGE sql AS 'SELECT NULL::void';
CREATE OR REPLACE FUNCTION repmgr.notify_follow_primary(integer) RETURNS void LANGUAGE sql AS 'SELECT NULL::void';
CREATE OR REPLACE FUNCTION repmgr.standby_get_last_updated() RETURNS timestamptz LANGUAGE sql STABLE AS
  'SELECT NULL::timestamptz';

CREATE OR REPLACE VIEW repmgr.show_nodes AS
  SELECT n.node_id, n.node_name, n.active, n.upstream_node_id, u.node_name AS upstream_node_name,
         n.type, n.priority, n.conninfo
    FROM repmgr.nodes n LEFT JOIN repmgr.nodes u ON u.node_id = n.upstream_node_id;

CREATE OR REPLACE VIEW repmgr.replication_status AS
  SELECT m.primary_node_id, m.standby_node_id, n.node_name AS standby_name, n.type AS node_type, n.active,
         m.last_monitor_time,
         CASE WHEN n.type = 'standby' THEN m.last_wal_primary_location END AS last_wal_primary_location,
         m.last_wal_standby_location,
         CASE WHEN n.type = 'standby' THEN pg_catalog.pg_size_pretty(m.replication_lag) END AS replication_lag,
         CASE WHEN n.type = 'standby' AND m.replication_lag > 0
              THEN pg_catalog.age(pg_catalog.now(), m.last_apply_time)
              WHEN n.type = 'standby' THEN '0'::interval END AS replication_time_lag,
         CASE WHEN n.type = 'standby' THEN pg_catalog.pg_size_pretty(m.apply_lag) END AS apply_lag,
         pg_catalog.age(pg_catalog.now(),
                        CASE WHEN pg_catalog.pg_is_in_recovery() THEN repmgr.standby_get_last_updated()
                             ELSE m.last_monitor_time END) AS communication_time_lag
    FROM repmgr.monitoring_history m
    JOIN repmgr.nodes n ON n.node_id = m.standby_node_id
   WHERE (m.standby_node_id, m.last_monitor_time) IN
         (SELECT standby_node_id, max(last_monitor_time) FROM repmgr.monitoring_history GROUP BY standby_node_id);
