#!/usr/bin/env bash
# HAProxy routes clients to the right node: writes to the primary, reads to the standbys, through a switchover, a
# failover, and an old primary that starts again while the new one runs.
#
#   examples/haproxy/haproxy.sh           plays it, and removes everything at its end
#   examples/haproxy/haproxy.sh --keep    leaves the servers running
#   examples/haproxy/haproxy.sh --stop    stops them and removes everything
#
# It needs the packages haproxy and socat; socat stands for systemd's socket.
set -euo pipefail

example=haproxy
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"
PATH=$PATH:/usr/sbin

options "$@"
for program in haproxy socat; do
    command -v "$program" >/dev/null || die "$program is missing. As root, run: apt-get install haproxy socat"
done
begin 3 5000 5001 8008 8008 8008
write_port=${more_ports[0]} read_port=${more_ports[1]} health_ports=("${more_ports[@]:2}")
front=$(host_in_front)
install_program "$tree/examples/haproxy/health.sh"
make_directory run
for node in 1 2 3; do write_node "$node"; done

# through PORT SQL: as an application would, that knows nothing of nodes.
through() {
    on 1 "$pg_bindir/psql" -X -A -t -q \
        "host=$(address "$front") port=$1 user=app dbname=postgres connect_timeout=5" -c "$2" 2>/dev/null || true
}

# node_at PORT: the node at the other end.
node_at() {
    local place node
    place=$(through "$1" "SELECT host(inet_server_addr()) || ' ' || inet_server_port()")
    for node in 1 2 3; do
        if [ "$place" = "$(address "$node") $(port "$node")" ]; then echo "node$node"; fi
    done
}

# nodes_at PORT: the nodes at the other end of several connections.
nodes_at() {
    for _ in 1 2 3 4 5 6; do node_at "$1"; done | sort -u | paste -s -d ' '
}

say "A primary and two standbys, and an application."
make_primary 1
let_in "$front" app
make_standby 2 1
make_standby 3 1
write 1 "CREATE ROLE app LOGIN PASSWORD 'app'"
write 1 "CREATE TABLE orders (n int); GRANT ALL ON orders TO app"
echo '*:*:postgres:app:app' | on 1 tee -a home/.pgpass >/dev/null
catch_up 2 1
catch_up 3 1

say "On each host something answers whether its node is the primary; HAProxy asks."
sed -e "s/127.0.0.1:5000/$(address "$front"):$write_port/" -e "s/127.0.0.1:5001/$(address "$front"):$read_port/" \
    "$tree/examples/haproxy/haproxy.cfg" >"$base/haproxy.cfg"
for node in 1 2 3; do
    health=${health_ports[$node - 1]}
    sed -i "s/node$node:5432 port 8008/$(address "$node"):$(port "$node") port $health/" "$base/haproxy.cfg"
    # shellcheck disable=SC2016 # the same
    on "$node" env "PATH=$base/bin:$PATH" sh -c \
        'socat "TCP-LISTEN:$1,bind=$3,reuseaddr,fork" "EXEC:bin/health.sh node$2/pgbaton.toml" >/dev/null 2>&1 &
        echo $! >"run/health$2.pid"' sh "$health" "$node" "$(address "$node")"
done
run "$front" haproxy -D -q -f haproxy.cfg -p run/haproxy.pid
wait_until "writes go to" node1 node_at "$write_port"
wait_until "reads go to" "node2 node3" nodes_at "$read_port"

say "The role of the primary moves."
pgbaton 2 standby switchover
wait_until "after the switchover writes go to" node2 node_at "$write_port"
wait_until "and reads to" "node1 node3" nodes_at "$read_port"
wait_until "an order is taken" 1 through "$write_port" "INSERT INTO orders VALUES (1) RETURNING n"
expect "orders on node2" "$(ask 2 'SELECT count(*) FROM orders')" 1

say "The primary fails, and a standby is promoted."
run 2 "$pg_bindir/pg_ctl" -s -w -m immediate -D node2/data stop
pgbaton 3 standby promote
wait_until "after the failover writes go to" node3 node_at "$write_port"
wait_until "and reads to the standby that is left" node1 nodes_at "$read_port"
wait_until "another order is taken" 2 through "$write_port" "INSERT INTO orders VALUES (2) RETURNING n"
expect "orders on node3" "$(ask 3 'SELECT count(*) FROM orders')" 2

say "The promotion has written standby.signal on the old primary. Without that file it would start as a second primary: refused."
run 2 rm node2/data/standby.signal
expect_code 31 pgbaton 2 node guard

say "It is started all the same, with pg_ctl. No client is routed to it: with two primaries, neither passes the check."
run 2 "$pg_bindir/pg_ctl" -s -w -D node2/data -l node2/postgresql.log start
wait_until "with two primaries writes go to" '' node_at "$write_port"
wait_until "and reads go on to" node1 nodes_at "$read_port"
expect "orders on the old primary" "$(ask 2 'SELECT count(*) FROM orders')" 1

say "It is brought back as a standby, and takes reads again."
pgbaton 2 node rejoin --yes
wait_until "writes go on to" node3 node_at "$write_port"
wait_until "and all reads to" "node1 node2" nodes_at "$read_port"
finish
