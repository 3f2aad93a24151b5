#!/usr/bin/env bash
# Automatic failover: three nodes with a daemon each. An application writes all the time; the primary is lost with all that runs on its
# host; a standby takes over by itself, the application goes on there, and the old primary comes back as a standby.
#
#   examples/failover/failover.sh           plays it, and removes everything at its end
#   examples/failover/failover.sh --keep    leaves servers and daemons running
#   examples/failover/failover.sh --stop    stops them and removes everything
set -euo pipefail

example=failover
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

# processes NODE PATTERN: the processes on that node's host whose command line begins like this. Each word of it ends with a space.
processes() {
    # shellcheck disable=SC2016 # the inner shell expands it
    on "$1" sh -c 'for file in /proc/[0-9]*/cmdline; do
        line=$({ tr "\0" " " <"$file"; } 2>/dev/null) || continue
        case $line in "$0"*) echo "${file#/proc/}" ;; esac
    done | cut -d/ -f1' "$2"
}

# kill_processes NODE PATTERN
kill_processes() {
    local pids
    mapfile -t pids < <(processes "$@")
    # shellcheck disable=SC2016 # the same
    [ ${#pids[@]} = 0 ] || on "$1" sh -c 'kill -s KILL "$@" 2>/dev/null || true' sh "${pids[@]}"
}

# kill_daemon NODE: the daemon first, which would start the fencer again; then the fencer, which would stop the server.
kill_daemon() {
    kill_processes "$1" "bin/pgbaton -f node$1/pgbaton.toml daemon run "
    kill_processes "$1" "$(realpath "$base")/bin/pgbaton-fencer $base/node$1/data "
}

# Before the servers: the daemons would start them again.
stop_more() {
    local dir node
    touch "$base/stop"
    for dir in "$base"/node*/; do
        [ -d "$dir" ] || continue
        node=${dir%/}
        kill_daemon "${node##*/node}"
    done
}

# lose NODE: all that runs on its host ends at once.
lose() {
    kill_daemon "$1"
    run "$1" "$pg_bindir/pg_ctl" -s -D "node$1/data" -m immediate stop
}

# active NODE: how many daemons take part in elections, as that node sees it.
active() { on "$1" bin/pgbaton -f "node$1/pgbaton.toml" service status --json | { grep -o '"flag":"active"' || true; } | wc -l; }

# The application: one order after the other, by a connection string with all nodes in it. What was committed is noted, with the time.
application() {
    local n=0
    while [ ! -e "$base/stop" ]; do
        if on "$front" env PGCONNECT_TIMEOUT=2 "$pg_bindir/psql" -X -q -d "$uri&user=app&dbname=postgres" \
            -c "INSERT INTO orders VALUES ($n)" >/dev/null 2>&1; then
            echo "$n ${EPOCHREALTIME/[.,]/}"
            n=$((n + 1))
        else
            # An order that may have been committed is not placed again under the same number.
            n=$((n + 1))
            sleep 0.05
        fi
    done
}

acknowledged() { wc -l <"$base/acknowledged"; }
# acknowledges_more_than COUNT
acknowledges_more_than() { [ "$(acknowledged)" -le "$1" ] || echo t; }

# other_than NODE: the primary, if it is another one.
other_than() {
    local found
    found=$(primaries)
    [ "$found" = "node$1" ] || [ -z "$found" ] || echo t
}

# On a machine that is busy with other things, leases end and begin anew.
patience=180
options "$@"
rm -f "$base/stop"
begin 3
front=$(host_in_front)
for node in 1 2 3; do
    write_node "$node" \
        'failover = "automatic"' \
        "runtime_directory = \"$base/node$node/run\"" \
        "daemon_service_start_command = \"bin/pgbaton -f node$node/pgbaton.toml daemon run >>node$node/daemon.log 2>&1 &\""
done

say "A primary and two standbys, and an application."
make_primary 1
let_in "$front" app
make_standby 2 1
make_standby 3 1
write 1 "CREATE ROLE app LOGIN PASSWORD 'app'"
write 1 "CREATE TABLE orders (n int); GRANT ALL ON orders TO app"
echo '*:*:postgres:app:app' | on 1 tee -a home/.pgpass >/dev/null
uri=$(pgbaton 1 cluster uri)
echo "$uri"

say "Every node has these lines in its configuration. Here a shell starts the daemons; in production a unit of systemd does.
$(grep -E '^(failover|daemon_service)' "$base/node1/pgbaton.toml")"
for node in 1 2 3; do pgbaton "$node" daemon start; done
wait_until "active daemons" 3 active 1
pgbaton 1 service status

say "The application writes all the time, with the string above. Then the host of node1 is lost: server, daemon and all."
application >"$base/acknowledged" &
wait_until "orders are placed" t acknowledges_more_than 20
lost=${EPOCHREALTIME/[.,]/}
lose 1
wait_until "another node is the primary" t other_than 1
primary=$(primaries)
primary=${primary#node}
wait_until "the application goes on" t acknowledges_more_than $(($(acknowledged) + 20))
pgbaton "$primary" service status

say "The host of node1 is back: its daemon brings the server back as a standby. It refuses where that would discard what only this server has."
pgbaton 1 daemon start
back=''
until [ -n "$back" ]; do
    if [ "$(streams 1)" = streaming ]; then
        back=by_itself
    elif grep -q 'would be discarded' "$base/node1/daemon.log"; then
        say "Here it has orders that no standby had received. They are kept aside, and discarded with consent only."
        pgbaton 1 node rejoin --yes && back=by_consent
    fi
    [ $SECONDS -lt 300 ] || die "node1 does not come back"
    sleep 0.2
done
wait_until "node1 is a standby again" streaming streams 1
wait_until "active daemons" 3 active 1
touch "$base/stop"
wait

# What the application was told against what is there. Replication is asynchronous: what was committed in the last moment of the old primary
# may not have reached a standby; from then on nothing is lost.
ask "$primary" 'SELECT n FROM orders' | sort -n >"$base/there"
lost_orders() {
    awk -v from="$1" -v to="$2" '$2 >= from && $2 < to { print $1 }' "$base/acknowledged" | sort |
        comm -23 - <(sort "$base/there") | wc -l
}
interruption=$(awk 'NR > 1 && $2 - last > longest { longest = $2 - last } { last = $2 } END { printf "%.1f", longest / 1e6 }' "$base/acknowledged")
expect "primaries" "$(primaries)" "node$primary"
say "The application could not write for $interruption s. Orders acknowledged: $(acknowledged)."
say "Lost of those before the failover: $(lost_orders 0 "$lost")."
expect "lost of those after the failover" "$(lost_orders "$lost" 99999999999999999)" 0
expect_code 0 pgbaton "$primary" cluster show --compact

finish
