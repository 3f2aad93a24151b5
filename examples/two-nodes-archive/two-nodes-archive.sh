#!/usr/bin/env bash
# Two nodes with replication slots and a WAL archive. The primary fails, the standby is promoted; then an operator starts the old
# primary by hand, and both accept writes. The old primary is rewound with WAL that only the archive still has.
#
#   examples/two-nodes-archive/two-nodes-archive.sh           plays it, and removes everything at its end
#   examples/two-nodes-archive/two-nodes-archive.sh --keep    leaves the servers running
#   examples/two-nodes-archive/two-nodes-archive.sh --stop    stops them and removes everything
set -euo pipefail

example=two-nodes-archive
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

# fill NODE: some WAL files' worth of other work, after which those that nothing needs are gone.
fill() {
    for _ in 1 2 3 4 5 6; do quietly ask "$1" 'INSERT INTO noise VALUES (1); SELECT pg_switch_wal()'; done
    quietly ask "$1" CHECKPOINT
}

slots() { ask "$1" "SELECT string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name) FROM pg_replication_slots"; }

# places SEGMENT: where it is.
places() {
    on 1 find node1/data/pg_wal node2/data/pg_wal archive -name "$1" -printf '%h\n' | sort
}

options "$@"
begin 2
install_program "$tree/examples/wal-shipping/archive-wal.sh"
install_program "$tree/examples/wal-shipping/restore-wal.sh"
# One archive for both, as on a third host: it would be "backup-host:/srv/wal".
make_directory archive
for node in 1 2; do write_node "$node" "restore_command = '$base/bin/restore-wal.sh $base/archive %f \"%p\"'"; done

say "A primary that archives. What a slot may keep is limited: beyond that the archive has it, and no disk fills up with WAL."
make_primary 1 --archive-command "$base/bin/archive-wal.sh $base/archive \"%p\" %f"
write 1 "ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'"
run 1 bin/pgbaton -f node1/pgbaton.toml node reload
make_standby 2 1
write 1 'CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i'
quietly ask 1 'CREATE TABLE noise (i int)'
# The last checkpoint before the histories part: from here on a rewind reads WAL.
quietly ask 1 CHECKPOINT
needed=$(ask 1 'SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()')
quietly ask 1 'SELECT pg_switch_wal()'
write 1 'INSERT INTO orders SELECT i FROM generate_series(1001, 1500) AS i'
catch_up 2 1
wait_until "WAL file $needed is archived" t on 1 sh -c "! test -e archive/$needed || echo t"
expect "slots on node1" "$(slots 1)" "repmgr_slot_2 true"

say "A timer lets every node look at the cluster now and then: so it knows the others when it needs them."
for node in 1 2; do pgbaton "$node" cluster show --compact; done

say "The host of the primary fails, and node2 is promoted."
run 1 "$pg_bindir/pg_ctl" -s -D node1/data -m immediate stop
# Both nodes are on one host here. Where node2 reaches that of node1, it sees to it that node1 can start as a standby only.
on 1 mv node1/pgbaton.toml node1/out-of-reach
pgbaton 2 standby promote
on 1 mv node1/out-of-reach node1/pgbaton.toml
write 2 "INSERT INTO orders SELECT i FROM generate_series(1501, 2000) AS i"
fill 2

say "An operator finds node1 down, and starts it. An application that knows only node1 continues to write there."
run 1 "$pg_bindir/pg_ctl" -s -w -D node1/data -l node1/postgresql.log start
write 1 "INSERT INTO orders SELECT i FROM generate_series(3001, 3300) AS i"
fill 1
expect "primaries" "$(primaries)" "node1 node2"
expect_code 25 pgbaton 2 cluster show --compact

say "node1 has to become a standby again. The WAL that this requires is no longer on any node: its own slot has lost it, too."
expect "where WAL file $needed is" "$(places "$needed")" archive
expect "what the slot on node1 has" "$(ask 1 'SELECT wal_status FROM pg_replication_slots')" lost

say "First the writes there are stopped, then it is said what a rewind would discard."
pgbaton 1 node stop
pgbaton 1 node rejoin --dry-run --yes

say "It is done. What is discarded is kept aside."
pgbaton 1 node rejoin --force-rewind --json >"$base/output"
rung=$(grep -o '"rung": *"[a-z_]*"' "$base/output")
expect "what did" "${rung//[\" ]/}" rung:rewind_archive
expect "the primary" "$(primaries)" node2
wait_until "node1 follows node2" node1 followers 2
run 1 sh -c 'ls -d node1/state/kept/*/*'
catch_up 1 2
expect "orders on node2" "$(ask 2 'SELECT count(*) FROM orders')" 2000
expect "orders on node1" "$(ask 1 'SELECT count(*) FROM orders')" 2000
expect "slots on node2" "$(slots 2)" "repmgr_slot_1 true"
expect "slots on node1, where the stale one was" "$(slots 1)" ''

say "Failback: node1 is the primary again, and again no slot is left behind."
# The slot for node2 begins where node1 would begin after a crash. Were that further back than max_slot_wal_keep_size, the next
# checkpoint would cost the slot its WAL.
quietly ask 2 CHECKPOINT
catch_up 1 2
quietly ask 1 CHECKPOINT
pgbaton 1 standby switchover
expect "the primary" "$(primaries)" node1
wait_until "node2 follows node1" node2 followers 1
expect "orders on node1" "$(ask 1 'SELECT count(*) FROM orders')" 2000
expect "slots on node1" "$(slots 1)" "repmgr_slot_2 true"
expect "slots on node2" "$(slots 2)" ''
expect_code 0 pgbaton 1 cluster show --compact
finish
