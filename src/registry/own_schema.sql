-- What pgbaton keeps for itself. No foreign keys to the tables of repmgr: an extension must be able to drop and truncate its own.
CREATE SCHEMA IF NOT EXISTS pgbaton;

-- What only pgbaton knows of a node.
CREATE TABLE IF NOT EXISTS pgbaton.node (
  node_id  integer PRIMARY KEY,
  ssh_host text
);

-- Mutating operations, written before their first effect: a standby can be asked what the lost primary was about to do. A row counts as
-- long as the cluster is on the timeline on which it was written.
CREATE TABLE IF NOT EXISTS pgbaton.operation (
  operation_id      text PRIMARY KEY,
  command           text        NOT NULL,
  node_id           integer,
  started_at        timestamptz NOT NULL DEFAULT current_timestamp,
  finished_at       timestamptz,
  exit_code         integer,
  nodes             integer[],
  timeline          integer,
  system_identifier text
);

-- One row per promotion, written in the transaction that makes the new primary known. Two standbys promoted apart have the same timeline
-- and may have the same history file, but never the same uuid.
CREATE TABLE IF NOT EXISTS pgbaton.promotion (
  timeline    integer     NOT NULL,
  uuid        text        PRIMARY KEY,
  node_id     integer     NOT NULL,
  promoted_at timestamptz NOT NULL DEFAULT current_timestamp
);
