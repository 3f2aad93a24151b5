#!/bin/sh
# Entrypoint of a container with one PostgreSQL server: asks pgbaton whether the server may start, then becomes the server.
#
#   ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
#   CMD ["postgres"]
#
# What is given is passed on to postgres: CMD ["postgres", "-c", "config_file=/etc/postgresql/postgresql.conf"] for a
# configuration outside the data directory.
#
#   PGDATA              the data directory
#   PGBATON_CONFIG      pgbaton's configuration file, outside the data directory (default /etc/pgbaton/pgbaton.toml); its
#                       state_directory has to be on a volume that stays
#   PGBATON_ON_PRIMARY  what becomes of a former primary when there is a newer one: "demote" (the default) lets it come up
#                       as a standby, "stop" leaves it down
#
# Run it as the user that owns the data directory, and let the container be restarted when it ends: with exit status 3 it
# cannot be determined whether the server may start, and it is asked again. Let something outside run "pgbaton cluster show" in
# the container now and then: then this node knows the others on the day on which it has to ask them.
set -u

: "${PGDATA:?PGDATA has to name the data directory}"
PGBATON_CONFIG=${PGBATON_CONFIG:-/etc/pgbaton/pgbaton.toml}
export PGDATA PGBATON_CONFIG
child=''
stopped=''
status=0

# Anything else but the server, a shell for instance, is not checked here.
[ $# -gt 0 ] || set -- postgres
if [ "${1##*/}" != postgres ]; then
    exec "$@"
fi

# The first process of a container gets no signal that it has no handler for.
trap stop TERM INT
stop() {
    stopped=1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}

# guard OPTION... - asks, and sets status.
guard() {
    pgbaton -D "$PGDATA" node guard "$@" &
    child=$!
    [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    status=$?
    # A signal ends the wait, and the guard has to be waited for again.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
    done
    child=''
}

guard
if [ "$status" = 31 ] && [ -z "$stopped" ] && [ "${PGBATON_ON_PRIMARY:-demote}" = demote ]; then
    guard --demote
fi
[ -z "$stopped" ] || exit 3
# Nothing but a yes starts a server.
[ "$status" = 0 ] || exit "$status"
trap - TERM INT
exec "$@"
