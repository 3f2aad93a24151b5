#!/usr/bin/env bash
# pgpool-II routes clients to the right node: writes to the primary, reads to the standbys, through a switchover, a
# failover, and an old primary that starts again while the new one runs.
#
#   examples/pgpool/pgpool.sh           plays it, and removes everything at its end
#   examples/pgpool/pgpool.sh --keep    leaves the servers running
#   examples/pgpool/pgpool.sh --stop    stops them and removes everything
#
# It needs the package pgpool2.
set -euo pipefail

example=pgpool
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"
PATH=$PATH:/usr/sbin

# At once: it need not wait for clients.
stop_signal=INT
options "$@"
command -v pgpool >/dev/null || die "pgpool is missing. As root, run: apt-get install pgpool2"
begin 3 5433 9898
pool_port=${more_ports[0]} pcp_port=${more_ports[1]}
front=$(host_in_front)
pool_host=$(address "$front")
install_program "$tree/examples/pgpool/tell-pgpool.sh"
make_directory run
# What notifies pgpool of a promotion. pcp's programs look for the password in the user's home directory, which is not HOME.
pcp_password="PCPPASSFILE=$base/home/.pcppass"
hook="event_notification_command = \"$pcp_password $base/bin/tell-pgpool.sh $pool_host $pcp_port %n %s\""
of='event_notifications = ["standby_promote"]'
for node in 1 2 3; do write_node "$node" "$hook" "$of"; done

# through SQL: as an application would, that knows nothing of nodes.
through() {
    on 1 "$pg_bindir/psql" -X -A -t -q \
        "host=$pool_host port=$pool_port user=app dbname=postgres connect_timeout=5" -c "$1" 2>/dev/null || true
}

# What a node says of itself.
where="host(inet_server_addr()) || ' ' || inet_server_port()"

# node_of SQL: the node that answers it with that.
node_of() {
    local place node
    place=$(through "$1")
    for node in 1 2 3; do
        if [ "$place" = "$(address "$node") $(port "$node")" ]; then echo "node$node"; fi
    done
}

writes() { node_of "UPDATE place SET n = n + 1 RETURNING $where"; }

# reads: the nodes at the other end of several connections.
reads() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do node_of "SELECT $where"; done | sort -u | paste -s -d ' '
}

# answered: whether there is a node for reads.
answered() { [ -z "$(reads)" ] || echo yes; }

# pcp COMMAND ARGUMENT...: pgpool's own commands.
pcp() { on 1 env "$pcp_password" timeout 10 "pcp_$1" -h "$pool_host" -p "$pcp_port" -U pgbaton -w "${@:2}"; }

# known NODE: whether clients may be routed to it: "up", or "down" if it is detached.
known() { pcp node_info -n "$(($1 - 1))" 2>/dev/null | awk '{ print $5 }' | sed 's/waiting/up/'; }

# found_false: what pgpool writes of a node that accepts writes and that no standby follows.
found_false() { on 1 grep -o -m 1 'worker_child: invalid node found 1$' run/log || true; }

say "A primary and two standbys, and an application."
make_primary 1
let_in "$front" app pgpool
make_standby 2 1
make_standby 3 1
write 1 "CREATE ROLE app LOGIN PASSWORD 'app'"
write 1 "CREATE TABLE orders (n int); CREATE TABLE place (n int); INSERT INTO place VALUES (0); GRANT ALL ON orders, place TO app"
write 1 "CREATE ROLE pgpool LOGIN PASSWORD 'pgpool' IN ROLE pg_monitor"
echo '*:*:postgres:app:app' | on 1 tee -a home/.pgpass >/dev/null
catch_up 2 1
catch_up 3 1

say "pgpool finds the primary."
configuration=$(sed -e "s/^port = 5433/port = $pool_port/" -e "s/^pcp_port = 9898/pcp_port = $pcp_port/" \
    -e "s/'127.0.0.1'/'$pool_host'/" -e "s|/var/run/postgresql|$base/run|" -e "s|/var/log/postgresql|$base/run|" "$tree/examples/pgpool/pgpool.conf")
for node in 1 2 3; do
    backend=$((node - 1))
    configuration=$(sed -e "s/^\(backend_hostname$backend\) = .*/\1 = '$(address "$node")'/" \
        -e "s/^\(backend_port$backend\) = .*/\1 = $(port "$node")/" <<<"$configuration")
done
on 1 tee run/pgpool.conf <<<"$configuration" >/dev/null
sed "s/127.0.0.1/$(address 1)/" "$tree/examples/pgpool/pool_hba.conf" | on 1 tee run/pool_hba.conf >/dev/null
# Files with passwords are readable only by their owner.
on 1 sh -c 'umask 077; cat >run/pool_passwd' <<<$'app:TEXTapp\npgpool:TEXTpgpool'
on 1 sh -c 'umask 077; cat >run/pcp.conf' <<<"pgbaton:$(printf secret | md5sum | cut -d ' ' -f 1)"
on 1 sh -c 'umask 077; cat >home/.pcppass' <<<"$pool_host:$pcp_port:pgbaton:secret"
# It must not end with the terminal.
# shellcheck disable=SC2016 # the same
run "$front" sh -c 'setsid pgpool -n -f run/pgpool.conf -F run/pcp.conf -a run/pool_hba.conf >run/log 2>&1 &'
wait_until "writes go to" node1 writes
wait_until "reads go to" "node2 node3" reads

say "The role of the primary moves. pgbaton notifies pgpool, and the old primary comes back as a standby."
pgbaton 2 standby switchover
wait_until "after the switchover writes go to" node2 writes
wait_until "and reads to" "node1 node3" reads
expect "an order is taken" "$(through 'INSERT INTO orders VALUES (1) RETURNING n')" 1
expect "orders on node2" "$(ask 2 'SELECT count(*) FROM orders')" 1

say "The primary fails. pgpool detaches it, and promotes no node."
run 2 "$pg_bindir/pg_ctl" -s -w -m immediate -D node2/data stop
wait_until "pgpool holds node2 for" down known 2
wait_until "without a primary reads are answered" yes answered
expect "and writes go to" "$(writes)" ''
expect "primaries" "$(primaries)" ''

say "A standby is promoted."
pgbaton 3 standby promote
wait_until "after the failover writes go to" node3 writes
wait_until "and reads to the standby that is left" node1 reads
expect "another order is taken" "$(through 'INSERT INTO orders VALUES (2) RETURNING n')" 2
expect "orders on node3" "$(ask 3 'SELECT count(*) FROM orders')" 2

say "The promotion has written standby.signal on the old primary. Without that file it would start as a second primary: refused."
run 2 rm node2/data/standby.signal
expect_code 31 pgbaton 2 node guard

say "It is started all the same, with pg_ctl. No client is routed to it: it does not stream, and stays detached."
run 2 "$pg_bindir/pg_ctl" -s -w -D node2/data -l node2/postgresql.log start
expect "primaries" "$(primaries)" "node2 node3"
# More than two times as long as pgpool waits between two looks.
sleep 12
expect "pgpool holds node2 for" "$(known 2)" down
expect "with two primaries writes go to" "$(writes)" node3
expect "and reads to" "$(reads)" node1

say "It is attached by hand: pgpool finds that no standby follows it, and detaches it again."
run 1 env "$pcp_password" pcp_attach_node -h "$pool_host" -p "$pcp_port" -U pgbaton -w -n 1
wait_until "pgpool says" "worker_child: invalid node found 1" found_false
wait_until "and holds node2 again for" down known 2
wait_until "writes go on to" node3 writes
wait_until "and reads to" node1 reads
expect "orders on the old primary" "$(ask 2 'SELECT count(*) FROM orders')" 1

say "It is brought back as a standby, and takes reads again."
pgbaton 2 node rejoin --yes
wait_until "writes go on to" node3 writes
wait_until "and all reads to" "node1 node2" reads
finish
