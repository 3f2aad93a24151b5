#!/usr/bin/env bash
# Compares "pgbaton node rejoin" with a rewind by hand (pg_rewind, standby.signal, pg_ctl start, wait until it streams) and, where it is
# installed, with repmgr's "node rejoin --force-rewind", on copies of one divergence: an old primary that crashed after writes of its own.
#
#   tests/bench/rejoin.sh [RUNS]       (an ordinary user; PGBATON, PGBIN and REPMGR name other programs)
#
# In turn, from the same directories; the first round warms the cache and is not counted. Prints the medians and their ratios.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
runs=${1:-7}
pgbaton=${PGBATON:-$here/target/release/pgbaton}
bin=${PGBIN:-$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)}
repmgr=${REPMGR:-$bin/repmgr}
[ "$(id -u)" != 0 ] || { echo "PostgreSQL refuses root: run this as an ordinary user" >&2; exit 2; }
[ -x "$pgbaton" ] || { echo "build it first: cargo build --release" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/pgbaton-bench.XXXX")
old=28775 new=28776
stop() { "$bin/pg_ctl" -D "$work/$1" -m immediate -w stop >/dev/null 2>&1 || true; }
trap 'stop old; stop new; rm -rf "$work"' EXIT
sql() { "$bin/psql" -XAtq -h 127.0.0.1 -p "$1" -U repmgr -d "${3:-repmgr}" -c "$2"; }
start() { "$bin/pg_ctl" -D "$work/$1" -l "$work/$1.log" -w start >/dev/null; }
until_it_is() { until [ "$(sql "$1" "$2")" = "$3" ]; do sleep 0.02; done; }
conninfo() { echo "host=127.0.0.1 port=$1 user=repmgr dbname=repmgr connect_timeout=2"; }

"$bin/initdb" -D "$work/old" -U repmgr -A trust >/dev/null
cat >>"$work/old/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$work'
wal_log_hints = on
wal_keep_size = 1GB
max_wal_size = 4GB
CONF
echo "port = $old" >>"$work/old/postgresql.conf"
start old
sql $old 'CREATE DATABASE repmgr' postgres
for id in 1 2; do
    node=$([ $id = 1 ] && echo old || echo new)
    port=$([ $id = 1 ] && echo $old || echo $new)
    cat >"$work/$node.toml" <<CONF
node_id = $id
node_name = "$node"
conninfo = "$(conninfo "$port")"
data_directory = "$work/$node"
pg_bindir = "$bin"
state_directory = "$work/state$id"
CONF
    cat >"$work/$node.conf" <<CONF
node_id=$id
node_name=$node
conninfo='$(conninfo "$port")'
data_directory='$work/$node'
pg_bindir='$bin'
use_replication_slots=yes
CONF
done
with_repmgr=
if [ -x "$repmgr" ] && "$repmgr" -f "$work/old.conf" primary register >"$work/repmgr.log" 2>&1; then with_repmgr=1; fi
"$pgbaton" -q -f "$work/old.toml" primary register
sql $old 'CREATE TABLE big AS SELECT g, repeat(md5(g::text), 8) AS t FROM generate_series(1, 300000) g'
"$bin/pg_basebackup" -d "$(conninfo $old) application_name=new" -D "$work/new" -R -X stream -c fast
echo "port = $new" >>"$work/new/postgresql.conf"
start new
"$pgbaton" -q -f "$work/new.toml" standby register
until_it_is $old "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()" 1
# The new primary goes on, and so does the old one, by itself.
"$pgbaton" -q -f "$work/old.toml" cluster show >/dev/null
"$bin/pg_ctl" -D "$work/new" -w promote >/dev/null
sql $new "CHECKPOINT; UPDATE repmgr.nodes SET active = false WHERE node_id = 1;
    UPDATE repmgr.nodes SET type = 'primary', upstream_node_id = NULL WHERE node_id = 2;
    UPDATE big SET t = 'new' WHERE g % 20 = 0"
sql $old "UPDATE big SET t = 'old' WHERE g % 10 = 0"
stop old
"$bin/pg_ctl" -D "$work/new" -m fast -w stop >/dev/null
cp -a "$work/old" "$work/old.kept"
cp -a "$work/new" "$work/new.kept"

bare() {
    cp "$work/old/postgresql.conf" "$work/own.conf"
    "$bin/pg_rewind" -D "$work/old" --source-server="$(conninfo $new)" >/dev/null 2>&1
    cp "$work/own.conf" "$work/old/postgresql.conf"
    touch "$work/old/standby.signal"
    echo "primary_conninfo = '$(conninfo $new)'" >>"$work/old/postgresql.auto.conf"
    start old
}
by_pgbaton() { "$pgbaton" -q -f "$work/old.toml" node rejoin -d "$(conninfo $new)" --force-rewind; }
by_repmgr() {
    "$repmgr" -f "$work/old.conf" node rejoin -d "$(conninfo $new)" --force-rewind --config-files=postgresql.conf \
        --config-archive-dir="$work" >"$work/repmgr.log" 2>&1
}

measure() {
    stop old
    stop new
    rm -rf "$work/old" "$work/new"
    cp -a "$work/old.kept" "$work/old"
    cp -a "$work/new.kept" "$work/new"
    sync
    start new
    local from
    from=$(date +%s%N)
    "$1"
    until_it_is $new "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'" 1
    echo $((($(date +%s%N) - from) / 1000000))
}
median() { sort -n | sed -n "$(((runs + 1) / 2))p"; }

ways=(bare by_pgbaton)
[ -z "$with_repmgr" ] || ways+=(by_repmgr)
for ((i = 0; i <= runs; i++)); do
    for way in "${ways[@]}"; do
        ms=$(measure "$way")
        [ "$i" = 0 ] || echo "$ms" >>"$work/$way.ms"
    done
done
floor=$(median <"$work/bare.ms")
for way in "${ways[@]}"; do
    ms=$(median <"$work/$way.ms")
    echo "$way: median $ms ms of $runs, $(awk "BEGIN { printf \"%.2f\", $ms / $floor }") of the rewind by hand"
done
