#!/bin/sh
# Notifies pgpool that pgbaton has promoted a node. In pgbaton.toml, on every node:
#
#   event_notification_command = "/usr/local/bin/tell-pgpool.sh pgpool-host 9898 %n %s"
#   event_notifications = ["standby_promote"]
#
#   tell-pgpool.sh HOST PORT NODE_ID SUCCESS
#
# HOST and PORT are those of pgpool's pcp, whose user is pgbaton here; the password is in ~/.pcppass. Backend N of pgpool is node
# N + 1 of pgbaton.
#
# pgpool looks for the primary only when a node is detached or attached. A switchover may be over before a health check has noticed
# anything, and in a failover it has long stopped looking. pcp_promote_node promotes nothing: pgpool takes the node for the primary from
# then on, and detaches all others, which come back by auto_failback as soon as they stream.
set -eu

[ $# = 4 ] || { echo "usage: tell-pgpool.sh HOST PORT NODE_ID SUCCESS" >&2; exit 2; }
host=$1 port=$2 backend=$(($3 - 1)) success=$4
[ "$success" = 1 ] || exit 0
PATH=$PATH:/usr/sbin

# A host that does not answer must not hold up more than itself.
pcp() {
    command=$1
    shift
    timeout 5 "pcp_$command" -h "$host" -p "$port" -U pgbaton -w "$@" 2>&1
}

# While pgpool changes over, it may not answer: it is asked again, for less than the minute that a hook has.
attempt=0
found='' answer=''
while [ $attempt -lt 4 ]; do
    # Its name for the state, and the role that pgpool takes it for.
    found=$(pcp node_info -n "$backend") || found="? ? ? ? unknown ? $found"
    case $(echo "$found" | awk '{ print $5, $7 }') in
        'up primary' | 'waiting primary') exit 0 ;;
        down*) answer=$(pcp attach_node -n "$backend") || true ;;
        up* | waiting*) answer=$(pcp promote_node -n "$backend") || true ;;
    esac
    sleep 2
    attempt=$((attempt + 1))
done
printf 'pgpool at %s does not take node %s for the primary: %s %s\n' "$host" "$3" "$found" "$answer" >&2
exit 1
