#!/usr/bin/env bash
# Compares "pgbaton cluster show" with "repmgr cluster show" on the same clusters, in turn, and prints medians and ratios.
#
#   tests/bench/cluster_show.sh [RUNS]
#
# For an ordinary user, on a machine with PostgreSQL and the repmgr extension of the same major version; PGBATON, REPMGR and PGBIN name
# other binaries. The servers are real: one primary, two standbys. For 30 and 100 nodes the three are registered again and again, each row with
# a conninfo of its own (another address of the loopback network), so that either program makes one connection per row. A fourth server,
# stopped by SIGSTOP, is the one that accepts connections and never answers: five rows of 30 lead to it.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
runs=${1:-15}
pgbaton=${PGBATON:-$here/target/release/pgbaton}
bin=${PGBIN:-$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)}
repmgr=${REPMGR:-$bin/repmgr}
[ "$(id -u)" != 0 ] || { echo "PostgreSQL refuses root: run this as an ordinary user" >&2; exit 2; }
[ -x "$pgbaton" ] || { echo "build it first: cargo build --release" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/pgbaton-bench.XXXX")
port=28731
cleanup() {
  [ ! -e "$work/4/postmaster.pid" ] || kill -CONT "$(head -1 "$work/4/postmaster.pid")" 2>/dev/null || true
  for id in 4 3 2 1; do "$bin/pg_ctl" -D "$work/$id" -m immediate stop >/dev/null 2>&1 || true; done
  rm -rf "$work"
}
trap cleanup EXIT

settings() { # ID
  printf "port = %s\nlisten_addresses = '*'\nunix_socket_directories = '%s'\nmax_connections = 300\nmax_wal_senders = 10\n" \
    $((port + $1)) "$work"
  printf "shared_buffers = 32MB\nwal_level = replica\nhot_standby = on\nfsync = off\n"
}
start() { "$bin/pg_ctl" -D "$work/$1" -l "$work/log.$1" -w start >/dev/null; }
sql() { "$bin/psql" -XAtq -h 127.0.0.1 -p $((port + 1)) -U repmgr -d repmgr -c "$1"; }

"$bin/initdb" -D "$work/1" -U repmgr -A trust >/dev/null
settings 1 >>"$work/1/postgresql.conf"
start 1
"$bin/createdb" -h 127.0.0.1 -p $((port + 1)) -U repmgr repmgr
have_repmgr=
if [ -x "$repmgr" ] && sql 'CREATE EXTENSION repmgr' 2>/dev/null; then have_repmgr=1; fi
for id in 2 3; do
  "$bin/pg_basebackup" -D "$work/$id" -R -c fast \
    -d "host=127.0.0.1 port=$((port + 1)) user=repmgr application_name=node$id"
  settings $id >>"$work/$id/postgresql.conf"
  start $id
done
"$bin/initdb" -D "$work/4" -U repmgr -A trust >/dev/null
settings 4 >>"$work/4/postgresql.conf"
start 4
kill -STOP "$(head -1 "$work/4/postmaster.pid")"

for id in 1 2 3; do
  own="host=127.0.0.1 port=$((port + id)) user=repmgr dbname=repmgr connect_timeout=2"
  printf 'node_id = %s\nnode_name = "node%s"\nconninfo = "%s"\ndata_directory = "%s"\npg_bindir = "%s"\nstate_directory = "%s"\n' \
    $id $id "$own" "$work/$id" "$bin" "$work/state$id" >"$work/$id.toml"
  printf "node_id=%s\nnode_name='node%s'\nconninfo='%s'\ndata_directory='%s'\n" \
    $id $id "$own" "$work/$id" >"$work/$id.conf"
done
if [ -z "$have_repmgr" ]; then "$pgbaton" -q -f "$work/1.toml" primary register; fi

register() { # NODES FROZEN
  sql "DELETE FROM repmgr.nodes;
    INSERT INTO repmgr.nodes (node_id, upstream_node_id, active, node_name, type, location, priority, conninfo, repluser, config_file)
    SELECT n, CASE WHEN n > 1 THEN 1 END, true, 'node' || n, CASE WHEN n = 1 THEN 'primary' ELSE 'standby' END, 'default', 100,
      CASE WHEN n > $1 - $2 THEN format('host=127.0.0.%s port=%s user=repmgr dbname=repmgr connect_timeout=2', 1 + n / 3, $port + 4)
      ELSE format('host=127.0.0.%s port=%s user=repmgr dbname=repmgr connect_timeout=2', 1 + (n - 1) / 3, $port + 1 + (n - 1) % 3) END,
      'repmgr', '/x' FROM generate_series(1, $1) n ORDER BY n"
  local lsn
  lsn=$(sql 'SELECT pg_current_wal_lsn()')
  for id in 2 3; do
    until [ "$("$bin/psql" -XAtq -h 127.0.0.1 -p $((port + id)) -U repmgr -d repmgr -c "SELECT pg_last_wal_replay_lsn() >= '$lsn'")" = t ]
    do sleep 0.1; done
  done
}

milliseconds() { # COMMAND... -> milliseconds on standard output
  local before after
  # Not date: starting it would count too.
  before=${EPOCHREALTIME/[^0-9]/}
  "$@" >"$work/out" 2>"$work/err" || true
  after=${EPOCHREALTIME/[^0-9]/}
  [ -s "$work/out" ] || { cat "$work/err" >&2; exit 1; }
  awk -v us=$((after - before)) 'BEGIN { printf "%.1f\n", us / 1e3 }'
}
ours() { milliseconds "$pgbaton" -f "$work/$1.toml" cluster show; }
theirs() { milliseconds "$repmgr" -f "$work/$1.conf" cluster show; }
median() { sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }

compare() { # TITLE LOCAL-NODE RUNS
  rm -f "$work/a" "$work/b"
  for run in $(seq 0 "$3"); do
    # In turn first, as the second one may find the machine busy. The first pair warms up and is not counted.
    a='' b=''
    if [ $((run % 2)) = 0 ]; then a=$(ours "$2"); fi
    if [ -n "$have_repmgr" ]; then b=$(theirs "$2"); fi
    if [ $((run % 2)) = 1 ]; then a=$(ours "$2"); fi
    [ "$run" = 0 ] || { echo "$a" >>"$work/a"; [ -z "$b" ] || echo "$b" >>"$work/b"; }
  done
  last=$(median <"$work/a")
  if [ -n "$have_repmgr" ]; then
    awk -v t="$1" -v a="$last" -v b="$(median <"$work/b")" \
      'BEGIN { printf "%-32s pgbaton %7.1f ms   repmgr %8.1f ms   %5.1f times faster\n", t, a, b, b / a }'
  else
    awk -v t="$1" -v a="$last" 'BEGIN { printf "%-32s pgbaton %7.1f ms\n", t, a }'
  fi
}

"$bin/postgres" --version
[ -z "$have_repmgr" ] || "$repmgr" --version
register 3 0
compare '3 nodes, on the primary' 1 "$runs"
compare '3 nodes, on a standby' 2 "$runs"
register 30 0
compare '30 nodes, on the primary' 1 "$runs"
thirty=$last
compare '30 nodes, on a standby' 2 "$runs"
register 100 0
compare '100 nodes, on the primary' 1 "$runs"
awk -v a="$last" -v b="$thirty" 'BEGIN { printf "100 nodes take %.1f times as long as 30\n", a / b }'
register 30 5
compare '30 nodes, 5 of them frozen' 1 3
