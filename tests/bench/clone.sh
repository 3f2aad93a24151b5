#!/usr/bin/env bash
# Compares "pgbaton standby clone" with bare pg_basebackup on one cluster of about 350 MB, in turn, and prints the ratio of the medians.
#
#   tests/bench/clone.sh [RUNS]        (an ordinary user; PGBATON and PGBIN name other binaries)
#
# Both copy the same files with "-X stream -c fast" and sync them. The first pair warms the cache and is not counted.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
runs=${1:-7}
pgbaton=${PGBATON:-$here/target/release/pgbaton}
bin=${PGBIN:-$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)}
[ "$(id -u)" != 0 ] || { echo "PostgreSQL refuses root: run this as an ordinary user" >&2; exit 2; }
[ -x "$pgbaton" ] || { echo "build it first: cargo build --release" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/pgbaton-bench.XXXX")
port=28771
trap '"$bin/pg_ctl" -D "$work/source" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
"$bin/initdb" -D "$work/source" -U repmgr -A trust -k >/dev/null
cat >>"$work/source/postgresql.conf" <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$work'
max_wal_size = 4GB
CONF
"$bin/pg_ctl" -D "$work/source" -l "$work/log" -w start >/dev/null
sql() { "$bin/psql" -XAtq -h 127.0.0.1 -p $port -U repmgr -d "$1" -c "$2"; }
sql postgres 'CREATE DATABASE repmgr'
sql repmgr 'CREATE TABLE big AS SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 1050000) g'
sql repmgr 'CHECKPOINT'
for id in 1 9; do
  cat >"$work/$id.toml" <<CONF
node_id = $id
node_name = "node$id"
conninfo = "host=127.0.0.1 port=$((port + id - 1)) user=repmgr dbname=repmgr"
data_directory = "$work/$([ $id = 1 ] && echo source || echo clone)"
pg_bindir = "$bin"
state_directory = "$work/state$id"
use_replication_slots = false
CONF
done
"$pgbaton" -q -f "$work/1.toml" primary register

seconds() { # COMMAND... -> seconds on standard output
  local before after
  sync
  before=$(date +%s%N)
  "$@" >/dev/null 2>>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
  after=$(date +%s%N)
  awk -v ns=$((after - before)) 'BEGIN { printf "%.3f\n", ns / 1e9 }'
}
ours() { "$pgbaton" -q -f "$work/9.toml" standby clone -h 127.0.0.1 -p $port; }
bare() { "$bin/pg_basebackup" -D "$work/bare" -h 127.0.0.1 -p $port -U repmgr -X stream -c fast; }
median() { sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }

echo "cluster: $(sql postgres 'SELECT pg_size_pretty(sum(pg_database_size(oid))) FROM pg_database'), $("$bin/postgres" --version)"
for run in $(seq 0 "$runs"); do
  rm -rf "$work/clone" "$work/bare"
  # In turn first, as the second one may find the disk busy.
  if [ $((run % 2)) = 0 ]; then a=$(seconds ours); b=$(seconds bare); else b=$(seconds bare); a=$(seconds ours); fi
  [ "$run" = 0 ] || { echo "$a" >>"$work/a"; echo "$b" >>"$work/b"; echo "pgbaton $a s   pg_basebackup $b s"; }
done
a=$(median <"$work/a") b=$(median <"$work/b")
awk -v a="$a" -v b="$b" 'BEGIN { printf "median: pgbaton %.3f s, pg_basebackup %.3f s: %.2f times, %+.3f s\n", a, b, a / b, a - b }'
