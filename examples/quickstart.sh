#!/usr/bin/env bash
# A look at pgbaton in a few minutes: three PostgreSQL servers on this machine, a primary and two standbys, made and shown
# with the commands that a DBA would type.
#
#   examples/quickstart.sh           make them (or, if they are there, show them)
#   examples/quickstart.sh --stop    stop the servers and remove everything the script has made, but not the packages
#
# For Debian with Rust (https://rustup.rs). As an ordinary user it runs everything as that user; as root, the servers belong
# to a user pgbaton-quickstart, which is created, because PostgreSQL refuses root. Missing packages are installed with root's
# or sudo's rights, or named if there are none. Servers listen on 127.0.0.1 only, and ask for a password.
#
# At its end it plays failover/failover.sh, on three other servers that are gone afterwards.
set -euo pipefail

# The nodes are made here step by step, and more is shown of them, than in the other examples.
example=quickstart
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"

show_cluster() {
    # Exit code 25: something is not as it should be, and the table says what.
    pgbaton 1 cluster show --compact || [ $? = 25 ]
}

leave_running() {
    local try="cd $base && bin/pgbaton -f node2/pgbaton.toml node status"
    [ -z "$is_root" ] || try="cd $base && runuser -u $owner -- bin/pgbaton -f node2/pgbaton.toml node status"
    show_cluster
    say "The servers go on running. To look at one:
    $try
To stop them and remove everything: $remove_command"
}

clone_and_start() {
    pgbaton "$1" standby clone -h "$(address "$2")" -p "$(port "$2")" "${@:3}"
    pgbaton "$1" node start
    pgbaton "$1" standby register "${@:3}"
}

# What the example at the end has left, if it was interrupted.
if [ "${1:-}" = --stop ] && [ -d "$base-failover" ]; then
    PGBATON_EXAMPLE_DIR=$base-failover "$tree/examples/failover/failover.sh" --stop
fi
options "$@"

if [ -e "$base/complete" ]; then
    make_base
    pg_bindir=$(cat "$base/pg_bindir")
    # After the machine was down: a primary starts once a majority of the nodes has confirmed that it is the primary.
    for node in 2 3 1; do
        is_running "$node" || pgbaton "$node" node start
    done
    leave_running
    exit
fi

begin 3
for node in 1 2 3; do write_node "$node"; done
other_nodes 1

say "An ordinary server."
make_first_server 1

say "What it has, and what it needs to be in a cluster. The exit code is 25: something is missing."
pgbaton 1 node prepare "${others[@]}" || [ $? = 25 ]

say "How that would be done, and then all of it. What takes a restart is said."
pgbaton 1 node prepare "${others[@]}" --apply --generate-password --dry-run
pgbaton 1 node prepare "${others[@]}" --apply --generate-password
pgbaton 1 node restart

say "It is the primary."
pgbaton 1 primary register

say "A standby of it: copied, started, registered."
clone_and_start 2 1

say "A standby of the standby."
clone_and_start 3 2 --upstream-node-id 2

say "The cluster:"
show_cluster

say "A switchover: node2 becomes the primary, node1 its standby. Nothing is lost, and clients hardly notice."
pgbaton 2 standby switchover

say "The primary dies."
run 2 "$pg_bindir/pg_ctl" -s -D node2/data -m immediate stop
show_cluster

say "node1 takes over, and node3, which followed node2, follows it now."
pgbaton 1 standby promote

say "The host of node2 is back: its server becomes a standby again. What it alone had, if anything, is reported first and kept aside."
pgbaton 2 node rejoin --force-rewind

touch "$base/complete"

# In a lab the hosts have room for one server each.
if [ -z "${PGBATON_LAB:-}" ]; then
    say "All of that by itself: three other servers, with a daemon each."
    PGBATON=$base/bin/pgbaton PGBATON_EXAMPLE_PG=$pg_bindir PGBATON_EXAMPLE_PORTS="${more_ports[*]}" \
        PGBATON_EXAMPLE_DIR=$base-failover "$tree/examples/failover/failover.sh" 3>&-
fi
leave_running
