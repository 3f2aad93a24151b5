#!/bin/sh
# Plays a container engine with "restart: always", for containers.sh: whatever ends is started again, until the supervisor itself is
# asked to stop.
#
#   supervisor.sh PIDFILE COMMAND...
#
# SIGTERM stops the command as "docker stop" does with STOPSIGNAL SIGINT, which is PostgreSQL's fast shutdown; SIGUSR1 as a host that
# fails.
set -u

pidfile=$1
shift
child=''
stopped=''
# The entrypoint understands SIGTERM; a server that is ending already takes no notice of it.
stop() {
    stopped=1
    [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null
    [ -z "$child" ] || kill -s TERM "$child" 2>/dev/null
}
trap 'stop INT' TERM
trap 'stop QUIT' USR1
echo $$ >"$pidfile"

while [ -z "$stopped" ]; do
    "$@" &
    child=$!
    wait "$child"
    status=$?
    # A signal ends the wait, and the command has to be waited for again.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
    child=''
    echo "The container has ended, with exit status $status."
    [ -n "$stopped" ] || sleep 1
done
rm -f "$pidfile"
