#!/usr/bin/env bash
# A notification is sent when the role of the primary moves: an event hook on both nodes, shown through a dry run, a
# switchover, and another one with a hook that does not work.
#
#   examples/hooks/switchover-notifies.sh           plays it, and removes everything at its end
#   examples/hooks/switchover-notifies.sh --keep    leaves the servers running
#   examples/hooks/switchover-notifies.sh --stop    stops them and removes everything
set -euo pipefail

example=hooks
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

options "$@"
begin 2
install_program "$tree/examples/hooks/notify.sh"
make_directory told
# The channel, and the events. Without event_notifications it would be everything that pgbaton records.
hook="event_notification_command = \"$base/bin/notify.sh --file $base/told/messages %n %e %s %t %d %a\""
of='event_notifications = ["standby_promote", "standby_switchover", "node_rejoin"]'
for node in 1 2; do write_node "$node" "$hook" "$of"; done

# told EVENT RESULT: how often that was notified.
told() { on 1 sh -c "cat told/messages 2>/dev/null | grep -c ': $1 $2 on node'" || true; }

say "Both nodes have these lines in their configuration:
$hook
$of"
make_primary 1
make_standby 2 1
expect "messages of what is in no list" "$(told '[a-z_]*' '[a-zA-Z]*')" 0

say "A dry run sends no notification."
quietly pgbaton 2 standby switchover --dry-run
expect "messages" "$(told '[a-z_]*' '[a-zA-Z]*')" 0

say "A switchover is."
pgbaton 2 standby switchover
expect "the primary" "$(primaries)" node2
run 2 cat told/messages
expect "messages of the switchover" "$(told standby_switchover succeeded)" 1

say "A hook that does not work does no harm: the role moves back, and the exit code is 0."
write_node 1 'event_notification_command = "echo no network >&2; false"' "$of"
expect_code 0 pgbaton 1 standby switchover
expect "the primary" "$(primaries)" node1
expect "messages of switchovers" "$(told standby_switchover succeeded)" 1

say "Every notification is also recorded, on the primary."
run 1 bin/pgbaton -f node1/pgbaton.toml cluster event --event standby_switchover
finish
