#!/usr/bin/env bash
# One primary and two standbys. The primary fails; one standby is promoted, the other follows it, and so does the old primary
# when its host is back.
#
#   examples/three-nodes/three-nodes.sh           plays it, and removes everything at its end
#   examples/three-nodes/three-nodes.sh --keep    leaves the servers running
#   examples/three-nodes/three-nodes.sh --stop    stops them and removes everything
set -euo pipefail

example=three-nodes
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

options "$@"
begin 3
for node in 1 2 3; do write_node "$node"; done

say "A primary, and two standbys of it."
make_primary 1
make_standby 2 1
make_standby 3 1
write 1 'CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i'
catch_up 2 1
catch_up 3 1
pgbaton 1 cluster show --compact

say "The primary fails. What to type next is said by any node that is left."
run 1 "$pg_bindir/pg_ctl" -s -D node1/data -m immediate stop
# Exit code 25: something is not as it should be.
expect_code 25 pgbaton 3 cluster show --compact

say "node2 is promoted. node3 is repointed to it at once; --no-siblings-follow would leave that to \"standby follow\" on node3."
pgbaton 2 standby promote
expect "the primary" "$(primaries)" node2
if [ "$(ask 2 'SHOW server_version_num')" -lt 150000 ]; then
    # That takes ALTER SYSTEM, which up to PostgreSQL 14 only a superuser may run from another host.
    pgbaton 3 standby follow
fi
wait_until "node3 follows node2" node3 followers 2

say "Applications go on, with node2."
write 2 'INSERT INTO orders SELECT i FROM generate_series(1001, 1500) AS i'

say "The host of node1 is back. Its server is not started as it is: it is made a standby first."
pgbaton 1 node rejoin --force-rewind
wait_until "both follow node2" "node1 node3" followers 2

say "Every order is on every node, and nothing is left to be done: the exit code is 0."
catch_up 1 2
catch_up 3 2
for node in 1 2 3; do expect "orders on node$node" "$(ask "$node" 'SELECT count(*) FROM orders')" 1500; done
expect "the primary" "$(primaries)" node2
expect_code 0 pgbaton 3 cluster show --compact

finish
