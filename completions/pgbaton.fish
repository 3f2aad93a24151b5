# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pgbaton_global_optspecs
    string join \n f/config-file= D/pgdata= b/pg_bindir= h/host= p/port= U/username= d/dbname= S/superuser= node-id= node-name= F/force accept-data-loss dry-run y/yes format= json csv compact q/quiet t/terse v/verbose L/log-level= log-to-file color= timeout= ?/help V/version
end

function __fish_pgbaton_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pgbaton_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pgbaton_using_subcommand
    set -l cmd (__fish_pgbaton_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pgbaton -n "__fish_pgbaton_needs_command" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -s V -l version -d 'Print version'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "primary" -d 'Register or unregister a primary'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "master" -d 'Register or unregister a primary'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "standby" -d 'Clone, register, promote, switch over, repoint or rewind a standby'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "witness" -d 'Register or unregister a witness'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "node" -d 'Prepare, inspect, start, stop and re-attach the local node'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "cluster" -d 'Inspect the whole cluster'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "operation" -d 'List, resume or abandon operations of mutating commands on this node'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "config" -d 'Check or show the configuration'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "daemon" -d 'Run, start or stop the daemon of this node'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "service" -d 'Show, pause and unpause the daemons of the cluster'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "man" -d 'Print the manual page, or write one page per command into a directory'
complete -c pgbaton -n "__fish_pgbaton_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -f -a "register" -d 'Create the metadata schema if it is missing, and register this server as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -f -a "unregister" -d 'Remove a former primary from the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and not __fish_seen_subcommand_from register unregister help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from register" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from unregister" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from help" -f -a "register" -d 'Create the metadata schema if it is missing, and register this server as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from help" -f -a "unregister" -d 'Remove a former primary from the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand primary; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -f -a "register" -d 'Create the metadata schema if it is missing, and register this server as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -f -a "unregister" -d 'Remove a former primary from the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and not __fish_seen_subcommand_from register unregister help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from register" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from unregister" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from help" -f -a "register" -d 'Create the metadata schema if it is missing, and register this server as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from help" -f -a "unregister" -d 'Remove a former primary from the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand master; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "clone" -d 'Copy a running server into an empty data directory, as its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "register" -d 'Register this standby in the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "unregister" -d 'Remove a standby from the metadata, and its unused slot'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "promote" -d 'Make this standby the primary, after the old one has failed'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "follow" -d 'Make this standby follow the primary, or another standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "switchover" -d 'Planned switchover: make this standby the primary and the old primary its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "rewind" -d 'Rewind a failed or diverged node, and re-attach it as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and not __fish_seen_subcommand_from clone register unregister promote follow switchover rewind help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l upstream-node-id -d 'Node that the standby will follow, if it is not the primary' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l upstream-conninfo -d 'Connection string of the upstream to write into primary_conninfo' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l replication-user -d 'Role that the standby connects to its upstream as' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l copy-external-config-files -d 'Also copy configuration files that lie outside the source\'s data directory' -r -f -a "samepath\t'To the same paths as on the source'
pgdata\t'Into the data directory'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l recovery-min-apply-delay -d 'Delay the replay of every transaction by this time, for instance 5min' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s R -l remote-user -d 'Remote operating system user; not used, as ssh_host of the node in the metadata names one' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s c -l fast-checkpoint -d 'Start with an immediate checkpoint; this is the default'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l spread-checkpoint -d 'Start with a spread checkpoint, which puts less load on the source and takes minutes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l verify-backup -d 'Check the copy against its manifest with pg_verifybackup'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l replication-conf-only -d 'Do not copy; write the replication configuration into an existing, stopped data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l start -d 'Start the server afterwards and wait until it streams'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l register -d 'Start the server afterwards and register it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l without-barman -d 'Accepted for compatibility with repmgr: pgbaton does not use Barman'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l no-upstream-connection -d 'Option of repmgr for Barman; refused'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from clone" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l upstream-node-id -d 'Node that this standby follows' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l wait-start -d 'Wait at most this many seconds for the local server to accept connections' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l wait-sync -d 'Wait at most this many seconds until the record has been replicated to this standby' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from register" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from unregister" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l proven-off -d 'With active daemons: these nodes, by name or ID, are switched off and stay off; the time in which they might still write is not waited for' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l no-siblings-follow -d 'Do not repoint the other standbys'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l siblings-follow -d 'The other standbys follow; this is the default'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l repmgrd-no-pause -d 'Do not pause repmgrd where it runs'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from promote" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l upstream-node-id -d 'Node to follow, if it is not the primary' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s W -l wait -d 'Wait this many seconds for a primary to appear, if there is none yet (default: primary_follow_timeout)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from follow" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l force-rewind -d 'Accepted for compatibility with repmgr: no rewind is needed' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l no-siblings-follow -d 'Do not repoint the other standbys: they stay attached to the old primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l siblings-follow -d 'The other standbys follow; this is the default'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l repmgrd-no-pause -d 'Do not pause repmgrd where it runs'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l repmgrd-force-unpause -d 'Unpause repmgrd afterwards even where it was paused before'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l always-promote -d 'Accepted for compatibility with repmgr: if the last WAL does not arrive, the old primary becomes primary again'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from switchover" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l force-rewind -d 'Agree to a rewind, if one is needed, and to discard transactions that only this node has; with PATH, use that pg_rewind' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l config-files -d 'Configuration files in the data directory to keep; all are kept anyway, so this only checks that they exist' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l config-archive-dir -d 'Directory to keep configuration files in during a rewind, instead of the state directory' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s w -l wait -d 'Wait until the node streams; this is the default. As in repmgr, a number has no effect: node_rejoin_timeout is the limit' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l reclone -d 'Clone the node again if nothing else works; the old data directory is moved aside'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l no-check-wal -d 'Do not check whether the WAL that a rewind has to read exists, and do not fetch it from the archive'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s W -l no-wait -d 'Do not wait until the node streams'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from rewind" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "clone" -d 'Copy a running server into an empty data directory, as its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "register" -d 'Register this standby in the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "unregister" -d 'Remove a standby from the metadata, and its unused slot'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "promote" -d 'Make this standby the primary, after the old one has failed'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "follow" -d 'Make this standby follow the primary, or another standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "switchover" -d 'Planned switchover: make this standby the primary and the old primary its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "rewind" -d 'Rewind a failed or diverged node, and re-attach it as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand standby; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -f -a "register" -d 'Register the local server as a witness, and copy the metadata to it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -f -a "unregister" -d 'Remove a witness from the metadata, and empty its copy'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and not __fish_seen_subcommand_from register unregister help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from register" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from unregister" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from help" -f -a "register" -d 'Register the local server as a witness, and copy the metadata to it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from help" -f -a "unregister" -d 'Remove a witness from the metadata, and empty its copy'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand witness; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "prepare" -d 'Show what the local server needs for replication, and set it up'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "status" -d 'Show the role and the state of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "check" -d 'Check the health of this node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "start" -d 'Start the local server and wait until it accepts connections'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "stop" -d 'Stop the local server, disconnecting its clients'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "restart" -d 'Stop and start the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "reload" -d 'Reload the configuration of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "service" -d 'Start, stop, restart, reload or promote the local server, with the action as an option, as in repmgr'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "rejoin" -d 'Re-attach a failed or diverged node as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "guard" -d 'Check whether it is safe to start the local server (exit code 0: yes)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and not __fish_seen_subcommand_from prepare status check start stop restart reload service rejoin guard help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l node -d 'Also allow connections from a node that is not registered yet; PORT defaults to the port of this node' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l network -d 'Allow connections from a whole network instead of the address of each node' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l auth-method -d 'Authentication method of new lines in pg_hba.conf' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l archive-command -d 'Archive WAL with this command' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l apply -d 'Do what is missing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l print -d 'Print statements to run and lines to write, for an administrator'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l generate-password -d 'Generate a password and store it in the password file'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l no-password -d 'Use no password: for trust, peer, ident and certificates'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from prepare" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l is-shutdown-cleanly -d 'Print one line that says whether the server was shut down cleanly; needs no connection'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from status" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l role -d 'Its role is the registered one, or ROLE; a primary is the only one' -r -f -a "primary\t'The only node that accepts writes'
standby\t'Follows another node'
witness\t'Holds no data of the cluster'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l remote-node-id -d 'That node' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l replication-lag -d 'How far a standby lags behind the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l archive-ready -d 'Number of WAL files waiting to be archived'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l upstream -d 'A standby streams from its registered upstream'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l downstream -d 'All standbys registered with it as upstream stream from it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l slots -d 'Its physical replication slots are in use'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l missing-slots -d 'The replication slots of its registered standbys exist'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l data-directory-config -d 'The configuration names the data directory of the running server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l repmgrd -d 'repmgrd is running and not paused; this check runs only if it is requested'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l db-connection -d 'pgbaton can connect to the server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l identity -d 'Its conninfo leads to a server of this cluster that no other node is registered with'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l server-version -d 'It has the same major version as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l timeline -d 'It has not diverged from the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l replay -d 'Replay of WAL is not paused'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l wal-retained -d 'Size of the WAL retained by replication slots, and whether a slot has lost WAL'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l logical-slots -d 'Its logical replication slots are usable, or on a standby its synchronized copies'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l archiver -d 'WAL archiving works'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l pending-restart -d 'No changed setting requires a restart'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l standby-settings -d 'Settings that must be at least as high on a standby as on the primary are so'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l rewind -d 'pg_rewind would be possible: settings, privileges and files'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l replication-login -d 'Its WAL receiver could log in to every other node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l clock -d 'Its clock agrees with the primary\'s'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l free-space -d 'Free disk space for the data directory, pg_wal and tablespaces'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l unfinished-operation -d 'No interrupted operation of this node has to be resumed or abandoned'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l standby-signal -d 'A standby has standby.signal and would start as one; a primary has none'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l daemon -d 'With automatic failover: its daemon is running and not paused, and the leader holds all votes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l nagios -d 'Print one line for Nagios, with performance data'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l optformat -d 'Print a line for the repmgr of another node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l has-passfile -d 'Whether passwords can come from a password file'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l replication-connection -d 'Whether the WAL receiver could log in to one node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l replication-config-owner -d 'Whether the configuration that ALTER SYSTEM writes belongs to the user that runs the server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from check" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from start" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l checkpoint -d 'Write a checkpoint first, while clients are still served, so that the stop itself is short'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from stop" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l checkpoint -d 'Write a checkpoint first, while clients are still served, so that the stop itself is short'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from restart" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from reload" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l action -d 'The action' -r -f -a "start\t'Start it'
stop\t'Stop it'
restart\t'Stop and start it'
reload\t'Reload its configuration'
promote\t'Promote it: the same as "standby promote"'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l list-actions -d 'Print the command of the action, or of all actions, and run none'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l checkpoint -d 'Write a checkpoint first, while clients are still served, so that the stop itself is short'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from service" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l force-rewind -d 'Agree to a rewind, if one is needed, and to discard transactions that only this node has; with PATH, use that pg_rewind' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l config-files -d 'Configuration files in the data directory to keep; all are kept anyway, so this only checks that they exist' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l config-archive-dir -d 'Directory to keep configuration files in during a rewind, instead of the state directory' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s w -l wait -d 'Wait until the node streams; this is the default. As in repmgr, a number has no effect: node_rejoin_timeout is the limit' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l reclone -d 'Clone the node again if nothing else works; the old data directory is moved aside'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l no-check-wal -d 'Do not check whether the WAL that a rewind has to read exists, and do not fetch it from the archive'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s W -l no-wait -d 'Do not wait until the node streams'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from rejoin" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l wait -d 'Seconds to keep querying the other nodes, instead of guard_wait' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l node -d 'Connection string of a node to query, in addition to the saved topology (can be repeated)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l demote -d 'If there is a newer primary, make the server a standby of it, and exit with 0'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from guard" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "prepare" -d 'Show what the local server needs for replication, and set it up'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "status" -d 'Show the role and the state of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the health of this node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "start" -d 'Start the local server and wait until it accepts connections'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Stop the local server, disconnecting its clients'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "restart" -d 'Stop and start the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "reload" -d 'Reload the configuration of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "service" -d 'Start, stop, restart, reload or promote the local server, with the action as an option, as in repmgr'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "rejoin" -d 'Re-attach a failed or diverged node as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "guard" -d 'Check whether it is safe to start the local server (exit code 0: yes)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "show" -d 'Show all nodes, their roles and the state of replication'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "check" -d 'Check the health of all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "uri" -d 'Print a connection string for clients that names all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "event" -d 'List recorded cluster events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "events" -d 'List recorded cluster events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "matrix" -d 'Show which nodes can connect to which, as seen from each node\'s own host'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "crosscheck" -d 'Show which nodes can connect to which, going through other hosts if a host cannot be reached from here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "cleanup" -d 'Delete old records of the monitoring history'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and not __fish_seen_subcommand_from show check uri event events matrix crosscheck cleanup help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l watch -d 'Refresh every SECONDS seconds, until interrupted' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from show" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l no-ssh -d 'Do not use ssh: checks that need another host are then unknown'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l nagios -d 'Print one line for Nagios, with performance data'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from check" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l role -d 'Which server the client needs' -r -f -a "primary\t'The one that accepts writes: target_session_attrs=read-write, libpq 10 or later'
standby\t'Only a standby: target_session_attrs=standby, libpq 14 or later'
prefer-standby\t'A standby, or the primary if no standby responds: target_session_attrs=prefer-standby, libpq 14 or later'
any\t'The first that accepts the connection: target_session_attrs=any, libpq 10 or later'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l syntax -d 'How the connection string is written' -r -f -a "uri\t'URI for libpq: psql, psycopg and all that is built on libpq'
keyword\t'Keywords and values for libpq'
jdbc\t'URL for pgjdbc: TCP only, with the address of a node that has hostaddr'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from uri" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l limit -d 'Show at most this many events' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l event -d 'Only events of this name' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l all -d 'Show all events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from event" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l limit -d 'Show at most this many events' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l event -d 'Only events of this name' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l all -d 'Show all events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from events" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from matrix" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from crosscheck" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s k -l keep-history -d 'Keep the records of this many days; without it all are deleted' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from cleanup" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show all nodes, their roles and the state of replication'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the health of all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "uri" -d 'Print a connection string for clients that names all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "event" -d 'List recorded cluster events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "matrix" -d 'Show which nodes can connect to which, as seen from each node\'s own host'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "crosscheck" -d 'Show which nodes can connect to which, going through other hosts if a host cannot be reached from here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "cleanup" -d 'Delete old records of the monitoring history'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand cluster; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "list" -d 'List the operations of this node, newest first'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "show" -d 'Show one operation with every step'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "resume" -d 'Resume an unfinished operation'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "abandon" -d 'Undo what can be undone of an unfinished operation, and close it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "cleanup" -d 'Remove the journals of finished operations'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "adopt-state" -d 'Make the state directory this node\'s: move the state of another cluster aside, or move this node\'s state here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and not __fish_seen_subcommand_from list show resume abandon cleanup adopt-state help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from list" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from show" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from resume" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from abandon" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l newest -d 'Keep this many of the newest finished operations' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l older-than -d 'Remove only operations that began more than this many days ago' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from cleanup" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l from -d 'Directory with the state of this node, to be moved to its state directory' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from adopt-state" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the operations of this node, newest first'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one operation with every step'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Resume an unfinished operation'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "abandon" -d 'Undo what can be undone of an unfinished operation, and close it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "cleanup" -d 'Remove the journals of finished operations'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "adopt-state" -d 'Make the state directory this node\'s: move the state of another cluster aside, or move this node\'s state here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand operation; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "check" -d 'Report all problems in the configuration'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "show" -d 'Print the effective configuration as TOML, with the origin of every value'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from check" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from show" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Report all problems in the configuration'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the effective configuration as TOML, with the origin of every value'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -f -a "run" -d 'Run the daemon of this node in the foreground'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -f -a "start" -d 'Start the daemon of this node, by daemon_service_start_command, and wait until it responds'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -f -a "stop" -d 'Stop the daemon of this node, by daemon_service_stop_command, without stopping its server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and not __fish_seen_subcommand_from run start stop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from run" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s w -l wait -d 'Wait at most this many seconds' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s W -l no-wait -d 'Do not wait'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from start" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s w -l wait -d 'Wait at most this many seconds' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s W -l no-wait -d 'Do not wait'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l handover -d 'If this node is the primary, make a standby the primary first, instead of pausing all daemons'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "run" -d 'Run the daemon of this node in the foreground'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "start" -d 'Start the daemon of this node, by daemon_service_start_command, and wait until it responds'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Stop the daemon of this node, by daemon_service_stop_command, without stopping its server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -f -a "status" -d 'Show the daemons of all nodes, and who leads'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -f -a "pause" -d 'Pause automatic failover on all nodes; a pause outlasts restarts of daemons and hosts'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -f -a "unpause" -d 'End the pause on all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -f -a "reset" -d 'Let the daemon of this node begin anew, as paused, after the loss of the majority or of the daemons\' state'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and not __fish_seen_subcommand_from status pause unpause reset help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l detail -d 'As in repmgr, which shows more with it; here it changes nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from status" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from pause" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from unpause" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l proven-off -d 'These nodes, by name or ID, are switched off, and stay so until they are reset, too, or cloned anew' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from reset" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "status" -d 'Show the daemons of all nodes, and who leads'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "pause" -d 'Pause automatic failover on all nodes; a pause outlasts restarts of daemons and hosts'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "unpause" -d 'End the pause on all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Let the daemon of this node begin anew, as paused, after the loss of the majority or of the daemons\' state'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand completions" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l directory -d 'Where to write the pages' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s f -l config-file -d 'Configuration file: pgbaton.toml, or an existing repmgr.conf' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s D -l pgdata -d 'Data directory of the local node' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s b -l pg_bindir -d 'Directory of the PostgreSQL programs' -r -F
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s h -l host -d 'Host name, address or socket directory of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s p -l port -d 'Port of the server to connect to' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s U -l username -d 'Role to connect as (default: that of conninfo in the configuration)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s d -l dbname -d 'Database to connect to, or a whole connection string or URI' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s S -l superuser -d 'Superuser role for the steps that require a superuser' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l node-id -d 'ID of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l node-name -d 'Name of the node to act on (default: the local node)' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l format -d 'Format of standard output' -r -f -a "table\t'For people'
json\t'One JSON document'
csv\t'Comma-separated values, as repmgr prints them'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s L -l log-level -d 'Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l timeout -d 'Seconds to wait for each server to respond (default: 10); a command that only reads gives up then' -r
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s F -l force -d 'Override checks that are reported as overridable: never a second primary, and never data loss, except that "standby clone" deletes an existing data directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l accept-data-loss -d 'Continue although committed transactions could be lost'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l dry-run -d 'Check everything, show the plan, change nothing'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s y -l yes -d 'Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l json -d 'The same as --format json'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l csv -d 'The same as --format csv'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l compact -d 'Narrower tables'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s q -l quiet -d 'Show errors only'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s t -l terse -d 'Omit DETAIL and HINT lines'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s v -l verbose -d 'Show more'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -l log-to-file -d 'Write messages to the configured log_file instead of standard error'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand man" -s ? -l help -d 'Print help'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "primary" -d 'Register or unregister a primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "standby" -d 'Clone, register, promote, switch over, repoint or rewind a standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "witness" -d 'Register or unregister a witness'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "node" -d 'Prepare, inspect, start, stop and re-attach the local node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "cluster" -d 'Inspect the whole cluster'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "operation" -d 'List, resume or abandon operations of mutating commands on this node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "config" -d 'Check or show the configuration'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "daemon" -d 'Run, start or stop the daemon of this node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "service" -d 'Show, pause and unpause the daemons of the cluster'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "man" -d 'Print the manual page, or write one page per command into a directory'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and not __fish_seen_subcommand_from primary standby witness node cluster operation config daemon service completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from primary" -f -a "register" -d 'Create the metadata schema if it is missing, and register this server as the primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from primary" -f -a "unregister" -d 'Remove a former primary from the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "clone" -d 'Copy a running server into an empty data directory, as its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "register" -d 'Register this standby in the metadata'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "unregister" -d 'Remove a standby from the metadata, and its unused slot'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "promote" -d 'Make this standby the primary, after the old one has failed'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "follow" -d 'Make this standby follow the primary, or another standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "switchover" -d 'Planned switchover: make this standby the primary and the old primary its standby'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from standby" -f -a "rewind" -d 'Rewind a failed or diverged node, and re-attach it as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from witness" -f -a "register" -d 'Register the local server as a witness, and copy the metadata to it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from witness" -f -a "unregister" -d 'Remove a witness from the metadata, and empty its copy'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "prepare" -d 'Show what the local server needs for replication, and set it up'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "status" -d 'Show the role and the state of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "check" -d 'Check the health of this node'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "start" -d 'Start the local server and wait until it accepts connections'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "stop" -d 'Stop the local server, disconnecting its clients'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "restart" -d 'Stop and start the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "reload" -d 'Reload the configuration of the local server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "service" -d 'Start, stop, restart, reload or promote the local server, with the action as an option, as in repmgr'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "rejoin" -d 'Re-attach a failed or diverged node as a standby of the current primary'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "guard" -d 'Check whether it is safe to start the local server (exit code 0: yes)'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "show" -d 'Show all nodes, their roles and the state of replication'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "check" -d 'Check the health of all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "uri" -d 'Print a connection string for clients that names all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "event" -d 'List recorded cluster events'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "matrix" -d 'Show which nodes can connect to which, as seen from each node\'s own host'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "crosscheck" -d 'Show which nodes can connect to which, going through other hosts if a host cannot be reached from here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from cluster" -f -a "cleanup" -d 'Delete old records of the monitoring history'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "list" -d 'List the operations of this node, newest first'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "show" -d 'Show one operation with every step'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "resume" -d 'Resume an unfinished operation'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "abandon" -d 'Undo what can be undone of an unfinished operation, and close it'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "cleanup" -d 'Remove the journals of finished operations'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from operation" -f -a "adopt-state" -d 'Make the state directory this node\'s: move the state of another cluster aside, or move this node\'s state here'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Report all problems in the configuration'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print the effective configuration as TOML, with the origin of every value'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "run" -d 'Run the daemon of this node in the foreground'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "start" -d 'Start the daemon of this node, by daemon_service_start_command, and wait until it responds'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "stop" -d 'Stop the daemon of this node, by daemon_service_stop_command, without stopping its server'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "status" -d 'Show the daemons of all nodes, and who leads'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "pause" -d 'Pause automatic failover on all nodes; a pause outlasts restarts of daemons and hosts'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "unpause" -d 'End the pause on all nodes'
complete -c pgbaton -n "__fish_pgbaton_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "reset" -d 'Let the daemon of this node begin anew, as paused, after the loss of the majority or of the daemons\' state'
