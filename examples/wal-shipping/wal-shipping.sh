#!/usr/bin/env bash
# WAL is shipped to a second host, and the standby there recovers from it while no streaming is possible: it misses nothing, lags
# behind by no more than a WAL file, and streams again as soon as it can.
#
#   examples/wal-shipping/wal-shipping.sh           plays it, and removes everything at its end
#   examples/wal-shipping/wal-shipping.sh --keep    leaves the servers running
#   examples/wal-shipping/wal-shipping.sh --stop    stops them and removes everything
set -euo pipefail

example=wal-shipping
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

options "$@"
begin 2
install_program "$tree/examples/wal-shipping/archive-wal.sh"
install_program "$tree/examples/wal-shipping/restore-wal.sh"
# Between two hosts it would be "node2:/srv/wal" on node1, and "/srv/wal" on node2.
make_directory archive
archive="$base/bin/archive-wal.sh $base/archive \"%p\" %f"
for node in 1 2; do write_node "$node" "restore_command = '$base/bin/restore-wal.sh $base/archive %f \"%p\"'"; done

say "A primary that ships its WAL, and a standby that streams, and also has a restore_command."
make_primary 1 --archive-command "$archive"
make_standby 2 1
write 1 'CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i'
catch_up 2 1
wait_until "the WAL receiver of node2" streaming streams 2

say "From now on no streaming is possible: node1 rejects replication connections."
on 1 sed -i '1i host replication all all reject' node1/data/pg_hba.conf
run 1 bin/pgbaton -f node1/pgbaton.toml node reload
quietly write 1 'SELECT pg_terminate_backend(pid) FROM pg_stat_replication'
wait_until "followers of node1" '' followers 1

say "The primary works on. A WAL file is shipped when it is full; here it is ended by hand, otherwise archive_timeout would do it."
write 1 'INSERT INTO orders SELECT i FROM generate_series(1001, 1500) AS i'
segment=$(ask 1 'SELECT pg_walfile_name(pg_switch_wal())')
wait_until "orders on node2" 1500 ask 2 'SELECT count(*) FROM orders'
expect "the WAL receiver of node2" "$(streams 2)" ''
expect "followers of node1" "$(followers 1)" ''
expect "the file is in the archive, as it was on node1" \
    "$(on 1 cmp "node1/data/pg_wal/$segment" "archive/$segment" && echo t)" t

say "pgbaton says what is wrong, and with what exit code a monitoring would see it."
expect_code 2 pgbaton 2 node check --upstream

say "The archive is never overwritten. The same file again is archived already:"
run 1 bin/archive-wal.sh "$base/archive" "node1/data/pg_wal/$segment" "$segment"
say "A different one of that name, as from a second primary, is refused:"
make_directory other
on 1 truncate -s 16M "other/$segment"
expect_code 1 run 1 bin/archive-wal.sh "$base/archive" "other/$segment" "$segment"
expect "the file is in the archive, as it was on node1" \
    "$(on 1 cmp "node1/data/pg_wal/$segment" "archive/$segment" && echo t)" t
expect "files that are there in part" "$(on 1 find archive -name '.*.??????' | wc -l)" 0

say "Streaming is possible again, and node2 goes over to it by itself."
on 1 sed -i 1d node1/data/pg_hba.conf
run 1 bin/pgbaton -f node1/pgbaton.toml node reload
wait_until "the WAL receiver of node2" streaming streams 2
write 1 'INSERT INTO orders SELECT i FROM generate_series(1501, 2000) AS i'
catch_up 2 1
expect "orders on node2" "$(ask 2 'SELECT count(*) FROM orders')" 2000
expect_code 0 pgbaton 2 node check --upstream
finish
