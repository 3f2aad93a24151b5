#!/usr/bin/env bash
# Two nodes as in containers, without a container engine: no ssh, the configuration outside the data directory, the server the
# process that the entrypoint becomes, and something that starts it again whenever it ends. The primary fails, the standby is
# promoted, and the old primary's container is started again: it stays down, or comes up as a standby. Then a planned move, and a
# failover after which the old primary has to be rewound. There are never two primaries.
#
#   examples/container/containers.sh           plays it, and removes everything at its end
#   examples/container/containers.sh --keep    leaves the servers running
#   examples/container/containers.sh --stop    stops them and removes everything
set -euo pipefail

example=container
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

# The programs of the image, and what is mounted outside the data directory.
image() { echo "PATH=$base/bin:$pg_bindir:$PATH"; }
mounted() { echo "$base/node$1/etc/postgresql.conf"; }

# write_mounted NODE: the configuration of its server.
write_mounted() {
    local etc=$base/node$1/etc listen='127.0.0.1'
    [ -z "${PGBATON_LAB:-}" ] || listen='*'
    mkdir -p "$etc"
    cat >"$etc/postgresql.conf" <<END
hba_file = '$etc/pg_hba.conf'
ident_file = '$etc/pg_ident.conf'
listen_addresses = '$listen'
port = $(port "$1")
unix_socket_directories = '$base/node$1'
wal_log_hints = on
END
    printf '%s\n' 'local all all trust' 'host all all all scram-sha-256' 'host replication all all scram-sha-256' \
        >"$etc/pg_hba.conf"
    : >"$etc/pg_ident.conf"
    make_directory "node$1/etc"
}

# What is in a container that is down is out of reach for the others; here all of them are on one host.
# reachable NODE | unreachable NODE
reachable() { on "$1" sh -c "test ! -e node$1/out-of-reach || mv node$1/out-of-reach node$1/pgbaton.toml"; }
unreachable() { on "$1" sh -c "test ! -e node$1/pgbaton.toml || mv node$1/pgbaton.toml node$1/out-of-reach"; }

# start_container NODE VARIABLE...
start_container() {
    reachable "$1"
    local command=(env "$(image)" "PGDATA=$base/node$1/data" "PGBATON_CONFIG=$base/node$1/pgbaton.toml" "${@:2}"
        bin/supervisor.sh "node$1/container.pid" bin/entrypoint.sh postgres -c "config_file=$(mounted "$1")")
    printf '\nnode%s: the container is started%s\n' "$1" "${2:+, with $2}" >&3
    # shellcheck disable=SC2016 # It is the inner shell that expands it.
    on "$1" sh -c 'exec "$@" >>"$0" 2>&1 </dev/null' "node$1/container.log" "${command[@]}" &
}

# end_container NODE SIGNAL
end_container() { on "$1" sh -c "test ! -e node$1/container.pid || kill -s $2 \$(cat node$1/container.pid)"; }
state() { on "$1" sh -c "test -e node$1/container.pid && echo running || echo stopped"; }

stop_container() {
    printf '\nnode%s: the container is stopped\n' "$1" >&3
    end_container "$1" TERM
    wait_until "the container of node$1" stopped state "$1"
    unreachable "$1"
}

# kill_container NODE: as with a host that fails; nothing starts it again.
kill_container() {
    printf '\nnode%s: the host fails\n' "$1" >&3
    end_container "$1" USR1
    wait_until "the container of node$1" stopped state "$1"
    unreachable "$1"
}

# said NODE TEXT: whether its container has said that since `forget`.
said() { if on "$1" grep -q -e "$2" "node$1/container.log"; then echo t; fi; }
forget() { on "$1" sh -c ": >node$1/container.log"; }

stop_more() {
    local node
    for node in 1 2; do
        end_container "$node" TERM
        wait_until "the container of node$node" stopped state "$node"
    done
}

# look: what a scheduled job in every container does, so that each node knows the other when it has to ask it.
look() { for node in 1 2; do quietly pgbaton "$node" cluster show; done; }

options "$@"
begin 2
for program in entrypoint.sh supervisor.sh; do install_program "$tree/examples/container/$program"; done
# Short timeouts, so that the example does not take long.
for node in 1 2; do
    write_node "$node" 'guard_wait = 5'
    write_mounted "$node"
done

say "The image's first start, with a server for the time being: a data directory, and what makes it the primary of a cluster."
quietly run 1 "$pg_bindir/initdb" -D node1/data -U postgres
quietly run 1 "$pg_bindir/pg_ctl" -s -w -D node1/data -l node1/first.log -o "-c config_file=$(mounted 1)" start
other_nodes 1
quietly pgbaton 1 node prepare "${others[@]}" --apply --generate-password
quietly pgbaton 1 primary register
quietly run 1 "$pg_bindir/pg_ctl" -s -w -D node1/data stop

say "From now on all of it runs in containers."
start_container 1
wait_until "primaries" node1 primaries
quietly pgbaton 2 standby clone -h "$(address 1)" -p "$(port 1)"
start_container 2
wait_until "node2 follows node1" node2 followers 1
quietly pgbaton 2 standby register
write 1 'CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i'
catch_up 2 1
look

# From here on the primaries are counted.
while [ ! -e "$base/enough" ] && kill -0 $$ 2>/dev/null; do
    seen=$(primaries)
    # The nodes are asked one after the other, and a role may move between two answers.
    [ "$seen" != "node1 node2" ] || seen=$(primaries)
    echo "$seen" >>"$base/counted"
    sleep 0.2
done &
counting=$!

say "The server of node1 crashes. The engine starts it again, and as node2 follows it, it may."
forget 1
on 1 kill -s QUIT "$(on 1 head -n 1 node1/data/postmaster.pid)"
wait_until "the container of node1 has ended and started again" t said 1 'NOTICE:  *node "node1" may start'
wait_until "primaries" node1 primaries
wait_until "node2 follows node1" node2 followers 1

say "The host of node1 fails, and node2 is promoted."
kill_container 1
pgbaton 2 standby promote
write 2 'INSERT INTO orders SELECT i FROM generate_series(1001, 1500) AS i'

say "The host is back, and the engine starts the container again and again. It stays down."
forget 1
start_container 1 PGBATON_ON_PRIMARY=stop
wait_until "node1 stays down" t said 1 'exit status 31'
run 1 tail -n 5 node1/container.log
expect "primaries" "$(primaries)" node2
stop_container 1

say "Without that setting it comes up as a standby."
start_container 1
wait_until "node1 follows node2" node1 followers 2
catch_up 1 2
expect "orders on node1" "$(ask 1 'SELECT count(*) FROM orders')" 1500
# What is left of its time as the primary: the slot of node2.
pgbaton 1 node rejoin
expect_code 0 pgbaton 1 cluster show --compact

say "A planned move needs no ssh either: stop the container of the primary, promote the other node, start it again."
stop_container 2
pgbaton 1 standby promote
start_container 2
wait_until "node2 follows node1" node2 followers 1
catch_up 2 1
expect "orders on node2" "$(ask 2 'SELECT count(*) FROM orders')" 1500
expect "primaries" "$(primaries)" node1
pgbaton 2 node rejoin
look

say "A failover in which something is lost: node1 writes while the container of node2 is stopped, and fails."
stop_container 2
write 1 'INSERT INTO orders SELECT i FROM generate_series(3001, 3300) AS i'
kill_container 1
start_container 2
wait_until "node2 is up" t ask 2 'SELECT pg_is_in_recovery()'
pgbaton 2 standby promote

say "The container of node1 comes up as a standby that cannot follow: it has what node2 has not."
forget 1
start_container 1
wait_until "node1 says what it needs" t said 1 'cannot stream until it is rejoined'
wait_until "node1 is up" t ask 1 'SELECT pg_is_in_recovery()'
expect "primaries" "$(primaries)" node2

say "A rewind stops the server, and a container ends with its server. So it is done in a container of its own, with the same volumes."
stop_container 1
reachable 1
pgbaton 1 node rejoin --force-rewind
quietly pgbaton 1 node stop
start_container 1
wait_until "node1 follows node2" node1 followers 2
catch_up 1 2
for node in 1 2; do expect "orders on node$node" "$(ask "$node" 'SELECT count(*) FROM orders')" 1500; done
expect_code 0 pgbaton 1 cluster show --compact

: >"$base/enough"
wait "$counting"
expect "how often two primaries were seen" "$(grep -c 'node1 node2' "$base/counted" || true)" 0
expect "the primaries that were seen" "$(grep . "$base/counted" | sort -u | xargs)" "node1 node2"
finish
