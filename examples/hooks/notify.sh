#!/bin/sh
# Sends a notification when something has happened in the cluster. In pgbaton.toml:
#
#   event_notification_command = "/usr/local/bin/notify.sh --mail dba@example.com %n %e %s %t %d %a"
#
#   notify.sh WAY... NODE_ID EVENT SUCCESS TIME DETAILS OTHER_NODE
#
#   --mail ADDRESS    by mail(1)
#   --webhook URL     by a POST of {"text": "..."}, which Slack, Mattermost and others take (needs curl)
#   --file FILE       as a line at the end of a file
#
# Several ways may be given. It is run by /bin/sh on the host on which pgbaton was called, may take a minute, and cannot fail
# the command: what has happened has happened. A failure here is a warning there.
set -eu

mail='' webhook='' file=''
while :; do
    case ${1:-} in
        --mail) mail=$2 ;;
        --webhook) webhook=$2 ;;
        --file) file=$2 ;;
        *) break ;;
    esac
    shift 2
done
[ $# = 6 ] || { echo "usage: notify.sh WAY... NODE_ID EVENT SUCCESS TIME DETAILS OTHER_NODE" >&2; exit 2; }
node=$1 event=$2 success=$3 time=$4 details=$5 other=$6

result=succeeded
[ "$success" = 1 ] || result=FAILED
# Details are arbitrary text, a server's message perhaps: no line of theirs may be taken for one of ours.
details=$(printf '%s' "$details" | tr '[:cntrl:]' ' ')
text="$time: $event $result on node $node${other:+ (other node: $other)}: $details"

# Every way is tried, also after one that has failed.
status=0
if [ -n "$mail" ]; then
    printf '%s\n' "$text" | mail -s "PostgreSQL: $event $result on node $node" "$mail" || status=1
fi
if [ -n "$webhook" ]; then
    quoted=$(printf '%s' "$text" | sed 's/[\\"]/\\&/g')
    printf '{"text": "%s"}' "$quoted" |
        curl --silent --show-error --fail --max-time 20 -H 'Content-Type: application/json' --data-binary @- "$webhook" \
            >/dev/null || status=1
fi
if [ -n "$file" ]; then
    printf '%s\n' "$text" >>"$file" || status=1
fi
exit "$status"
