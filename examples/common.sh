# shellcheck shell=bash
# What the examples have in common: the servers, the commands, and the proof. A script sets `example` to its name, sources
# this file and then says
#
#   options "$@"         what every example understands: --keep, --stop
#   begin 2              packages and programs, a directory, an address and a port for each of two nodes; the usual ports of
#                        what else listens may follow
#   write_node 1         the configuration of a node, here of node 1; more lines for it may follow
#   make_primary 1       node 1 as a registered primary; options for "pgbaton node prepare" may follow
#   make_standby 2 1     node 2 as a registered standby of node 1; options for "standby clone" may follow
#   pgbaton 2 ...        runs pgbaton on node 2, and shows what was typed; `run` does the same with any command
#   expect ...           compares what is with what is claimed, and ends the script where they differ
#   finish               stops and removes everything, unless --keep was given
#
# For the user who runs it:
#
#   PGBATON=PATH               this pgbaton, instead of one that cargo makes
#   PGBATON_EXAMPLE_PG=DIR     PostgreSQL's programs in this directory, instead of the newest that is installed
#   PGBATON_EXAMPLE_DIR=DIR    where everything goes, instead of /var/tmp/pgbaton-EXAMPLE-USER
#   PGBATON_EXAMPLE_PORTS=...  ports, instead of the first free ones from a place of the example's own on
#   PGBATON_LAB=DIR            hosts: "DIR/enter N COMMAND..." runs a command on host N, as the user that the servers are to
#                              belong to; the file DIR/hosts has a line "N ADDRESS" for each; DIR/pgbaton.toml, if it is
#                              there, is added to the configuration of every node (ssh_options, for what needs ssh). All hosts
#                              see the same files, except that "DIR/own N DIRECTORY" has a directory be seen on host N only:
#                              pgbaton takes a server whose files it sees for a local one. Without, all nodes are on this
#                              machine. tests/lab/lab.sh makes such a directory.
#
# As an ordinary user a script runs everything as that user; as root, the servers belong to a user of the example's own, because
# PostgreSQL refuses root. Missing packages are installed with root's or sudo's rights, or named if there are none.
set -euo pipefail
umask 022

: "${example:?}"
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
is_root=''
own_user=''
[ "$(id -u)" != 0 ] || is_root=1
base=${PGBATON_EXAMPLE_DIR:-/var/tmp/pgbaton-$example-$(id -un)}
if [ -n "${PGBATON_LAB:-}" ]; then
    owner=$("$PGBATON_LAB/enter" 1 id -un)
elif [ -n "$is_root" ]; then
    owner=pgbaton-$example
    own_user=1
else
    owner=$(id -un)
fi
remove_command="$0 --stop"
[ -z "${PGBATON_EXAMPLE_DIR:-}" ] || remove_command="PGBATON_EXAMPLE_DIR=$base $remove_command"
pg_bindir=''
ports=()
more_ports=()
keep=''
# How programs that run next to the servers are asked to end. Each has a file of its own with its process, run/NAME.pid.
stop_signal=TERM
# For how many seconds is waited for what is claimed.
patience=60

# What is said goes where it is read, also where the output of a command is kept back.
exec 3>&1
say() { printf '\n%s\n' "$*" >&3; }
die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

# ---- hosts and commands ---------------------------------------------------------------------------------------------

# address NODE, port NODE: where its server listens.
address() {
    if [ -z "${PGBATON_LAB:-}" ]; then
        echo 127.0.0.1
    else
        awk -v node="$1" '$1 == node { print $2 }' "$PGBATON_LAB/hosts"
    fi
}
port() { echo "${ports[$1 - 1]}"; }

# host_in_front: where to put what clients connect to; in a lab a host without a node, if there is one.
host_in_front() {
    if [ -z "${PGBATON_LAB:-}" ]; then
        echo 1
    else
        awk -v nodes=${#ports[@]} 'NR == 1 || $1 == nodes + 1 { host = $1 } END { print host }' "$PGBATON_LAB/hosts"
    fi
}

# on NODE COMMAND...: on that node's host, as the owner of the servers, in the example's directory, and without variables that
# would send psql or pgbaton elsewhere.
on() {
    local node=$1 way=()
    shift
    if [ -n "${PGBATON_LAB:-}" ]; then
        way=("$PGBATON_LAB/enter" "$node")
    elif [ -n "$is_root" ]; then
        way=(runuser -u "$owner" --)
    fi
    # Before PostgreSQL 15, its programs look for the password file not in HOME, but in the home directory of the user. A server
    # that is started must not keep the script's output open.
    "${way[@]}" env -i -C "$base" "PATH=$PATH" "LANG=${LANG:-C}" "TERM=${TERM:-dumb}" "HOME=$base/home" "USER=$owner" \
        "PGPASSFILE=$base/home/.pgpass" "$@" 3>&-
}

# show NODE COMMAND...: as it could be typed.
show() {
    local word line='' place=node
    [ "$1" -le ${#ports[@]} ] || place=host
    for word in "${@:2}"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@,-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
    done
    printf '\n%s%s$%s\n' "$place" "$1" "$line" >&3
}

run() { show "$@"; on "$@"; }

# pgbaton NODE ARGUMENT...
pgbaton() { run "$1" bin/pgbaton -f "node$1/pgbaton.toml" "${@:2}"; }

# write NODE SQL: as an application would that is connected to this node.
write() { run "$1" "$pg_bindir/psql" -X -q -h "$base/node$1" -p "$(port "$1")" -U postgres -c "$2"; }

# ask NODE SQL: the answer, and nothing else; nothing if the server is down.
ask() {
    on "$1" "$pg_bindir/psql" -X -A -t -q -h "$base/node$1" -p "$(port "$1")" -U postgres -c "$2" 2>/dev/null || true
}

# quietly COMMAND...: what it prints is of interest only if it fails.
quietly() {
    local status=0
    "$@" >"$base/output" 2>&1 || status=$?
    [ "$status" = 0 ] || cat "$base/output" >&2
    return "$status"
}

# ---- the proof ------------------------------------------------------------------------------------------------------

# expect CLAIM ACTUAL WANTED
expect() {
    [ "$2" = "$3" ] || die "$1: expected \"$3\", found \"$2\""
    if [ "$3" = t ]; then printf 'OK: %s\n' "$1"; else printf 'OK: %s (%s)\n' "$1" "${2:-none}"; fi >&3
}

# expect_code CODE COMMAND...: the exit code that the command has to end with.
expect_code() {
    local status=0
    "${@:2}" || status=$?
    [ "$status" = "$1" ] || die "the exit code was $status, and not $1"
    printf 'exit code: %s\n' "$status" >&3
}

# wait_until CLAIM WANTED COMMAND...: until the command prints that.
wait_until() {
    local found='' begun=$SECONDS
    while found=$("${@:3}") && [ "$found" != "$2" ]; do
        [ $((SECONDS - begun)) -lt "$patience" ] || break
        sleep 0.2
    done
    expect "$1" "$found" "$2"
}

# The nodes that accept writes.
primaries() {
    local node found=()
    for node in "${!ports[@]}"; do
        node=$((node + 1))
        [ "$(ask "$node" 'SELECT pg_is_in_recovery()')" != f ] || found+=("node$node")
    done
    echo "${found[*]}"
}

# streams NODE: "streaming" if its server receives WAL from another one.
streams() { ask "$1" 'SELECT status FROM pg_stat_wal_receiver'; }

# followers NODE: the nodes that receive WAL from it.
followers() {
    ask "$1" "SELECT string_agg(application_name, ' ' ORDER BY application_name)
        FROM pg_stat_replication WHERE state = 'streaming'"
}

# catch_up NODE PRIMARY: waits until it has replayed all that the primary has written until now.
catch_up() {
    local position
    position=$(ask "$2" 'SELECT pg_current_wal_lsn()')
    wait_until "node$1 has replayed everything" t ask "$1" "SELECT pg_last_wal_replay_lsn() >= '$position'"
}

# ---- the machine ----------------------------------------------------------------------------------------------------

as_root() { if [ -n "$is_root" ]; then "$@"; else sudo -n "$@"; fi; }

find_postgresql() {
    local dir
    for dir in ${PGBATON_EXAMPLE_PG:-$(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV)}; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/pg_basebackup" ]; then
            echo "$dir"
            return
        fi
    done
}

find_cargo() {
    # rustup's place is not on the PATH of every non-interactive shell.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
}

install_packages() {
    local missing=()
    if [ -z "${PGBATON:-}" ]; then
        find_cargo
        command -v cc >/dev/null || missing+=(gcc libc6-dev)
        command -v pkg-config >/dev/null || missing+=(pkg-config)
        pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
        # What cargo trusts the registry of crates by.
        [ -n "${SSL_CERT_FILE:-}${CARGO_HTTP_CAINFO:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ] ||
            missing+=(ca-certificates)
    fi
    [ -n "$(find_postgresql)" ] || missing+=(postgresql)
    if [ ${#missing[@]} -gt 0 ]; then
        if ! command -v apt-get >/dev/null || ! as_root true 2>/dev/null; then
            die "packages are missing. As root, run: apt-get update && apt-get install ${missing[*]}"
        fi
        say "Installing ${missing[*]} ..."
        # With the server package, Debian would make and start a server of its own, which is not needed.
        local no_server=/etc/postgresql-common/createcluster.d/pgbaton-example.conf
        as_root mkdir -p "$(dirname "$no_server")"
        echo 'create_main_cluster = false' | as_root tee "$no_server" >/dev/null
        as_root apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
        as_root rm "$no_server"
    fi
}

# Puts pgbaton where the owner can run it: the checkout may be below /root.
install_pgbaton() {
    local program=${PGBATON:-${CARGO_TARGET_DIR:-target}/debug/pgbaton}
    # A plain debug build takes half a minute where an optimised one takes several, and the difference is not visible here.
    if [ -z "${PGBATON:-}" ]; then
        say "Building pgbaton (the first time, and with it all that it is made of, takes some minutes) ..."
        (cd "$tree" && cargo build --locked --quiet)
        program=$(cd "$tree" && realpath "$program")
    fi
    install_program "$program" pgbaton
    # The daemon looks for it there.
    local fencer=${program%/*}/pgbaton-fencer
    [ ! -e "$fencer" ] || install_program "$fencer"
}

# install_program FILE [NAME]: copies it to bin/.
install_program() { install -D -m 755 "$1" "$base/bin/${2:-${1##*/}}"; }

# make_directory NAME: one that the servers may write to.
make_directory() {
    mkdir -p "$base/$1"
    chmod 700 "$base/$1"
    [ -z "$is_root" ] || chown -R "$owner:" "$base/$1"
}

# Says where to put things, and that it is ours. A predictable name in a directory that all users can write to: another
# user's must not be used.
make_base() {
    if [ -n "$own_user" ] && ! id "$owner" >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir "$base" --shell /bin/sh "$owner"
    fi
    mkdir -p "$base"
    if [ -L "$base" ] || [ "$(stat -c %u "$base")" != "$(id -u)" ]; then die "$base belongs to another user"; fi
    # Where the password is kept.
    make_directory home
}

# find_ports COUNT PORT...: puts so many ports where nothing listens into `ports`, and one instead of each that is named into
# `more_ports`. In a lab each node has a host of its own.
find_ports() {
    local port usual
    mapfile -t usual < <(for ((port = 0; port < $1; port++)); do echo 5432; done)
    usual+=("${@:2}")
    # Two examples that are begun at once find the same ports free, if they look in the same place.
    port=$(cksum <<<"$base")
    port=$((5440 + ${port%% *} % 50 * 10))
    read -ra ports <<<"${PGBATON_EXAMPLE_PORTS:-}"
    while [ ${#ports[@]} -lt ${#usual[@]} ]; do
        if [ -n "${PGBATON_LAB:-}" ]; then
            ports+=("${usual[${#ports[@]}]}")
            continue
        fi
        # Connecting is the test that needs no other tool.
        (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports+=("$port")
        port=$((port + 1))
    done
    # shellcheck disable=SC2034 # the scripts use it
    more_ports=("${ports[@]:$1}")
    ports=("${ports[@]:0:$1}")
}

# ---- servers --------------------------------------------------------------------------------------------------------

is_running() { on "$1" "$pg_bindir/pg_ctl" -D "$base/node$1/data" status >/dev/null 2>&1; }

# write_node NODE LINE...: the node's directory with its configuration of pgbaton.
write_node() {
    local node=$1 dir=$base/node$1
    shift
    mkdir -p "$dir"
    {
        cat <<END
node_id = $node
node_name = "node$node"
conninfo = "host=$(address "$node") port=$(port "$node") user=repmgr dbname=repmgr connect_timeout=5 passfile=$base/home/.pgpass"
passfile = "$base/home/.pgpass"
data_directory = "$dir/data"
pg_bindir = "$pg_bindir"
state_directory = "$dir/state"
END
        [ $# = 0 ] || printf '%s\n' "$@"
        [ -z "${PGBATON_LAB:-}" ] || cat "$PGBATON_LAB/pgbaton.toml" 2>/dev/null || true
    } >"$dir/pgbaton.toml"
    make_directory "node$node"
    # There, no host may see the data directory of another one.
    [ -z "${PGBATON_LAB:-}" ] || "$PGBATON_LAB/own" "$node" "$dir"
}

# make_first_server NODE: a server without replication. Only its owner connects without a
# password, over a socket that no other user can open.
make_first_server() {
    local auth=(--auth-local=trust --auth-host=scram-sha-256) listen='127.0.0.1'
    # The file is copied to the other hosts.
    [ -z "${PGBATON_LAB:-}" ] || listen='*'
    quietly run "$1" "$pg_bindir/initdb" -D "node$1/data" -U postgres "${auth[@]}"
    on "$1" tee -a "node$1/data/postgresql.conf" >/dev/null <<END

listen_addresses = '$listen'
unix_socket_directories = '..'
port = $(port "$1")
END
    quietly run "$1" "$pg_bindir/pg_ctl" -s -w -D "node$1/data" -l "node$1/postgresql.log" start
}

# other_nodes NODE: puts the options of "node prepare" that let all other nodes in into `others`.
other_nodes() {
    local node
    others=()
    for ((node = 1; node <= ${#ports[@]}; node++)); do
        [ "$node" = "$1" ] || others+=(--node "$(address "$node"):$(port "$node")")
    done
}

# make_primary NODE OPTION...
make_primary() {
    other_nodes "$1"
    make_first_server "$1"
    quietly pgbaton "$1" node prepare "${others[@]}" --apply --generate-password "${@:2}"
    quietly pgbaton "$1" node restart
    quietly pgbaton "$1" primary register
}

# let_in HOST ROLE...: lets these come from there with their passwords, to the databases on node 1, and on its standbys, which
# get a copy of the rules.
let_in() {
    local role
    for role in "${@:2}"; do
        echo "host all $role $(address "$1")/32 scram-sha-256"
    done | on 1 tee -a node1/data/pg_hba.conf >/dev/null
    quietly pgbaton 1 node reload
}

# make_standby NODE SOURCE OPTION...
#
# A standby's postgresql.conf is a copy of its source's. That servers on one machine need different ports is seen by
# pgbaton, which sets the one in the node's conninfo.
make_standby() {
    quietly pgbaton "$1" standby clone -h "$(address "$2")" -p "$(port "$2")" "${@:3}"
    quietly pgbaton "$1" node start
    quietly pgbaton "$1" standby register "${@:3}"
}

# ---- beginning and end ----------------------------------------------------------------------------------------------

# The comment at the head of the script.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

options() {
    case ${1:-} in
        '') ;;
        --keep) keep=1 ;;
        --stop)
            if [ -d "$base" ]; then
                make_base
                remove
            else
                echo "There is nothing in $base."
            fi
            exit
            ;;
        *)
            usage
            exit 2
            ;;
    esac
}

# begin COUNT PORT...: so many nodes, and ports for what else listens, which are these where every node has a host of its own.
begin() {
    install_packages
    make_base
    if [ -e "$base/pg_bindir" ]; then die "an earlier run has left its servers. Remove them first: $remove_command"; fi
    install_pgbaton
    pg_bindir=$(find_postgresql)
    echo "$pg_bindir" >"$base/pg_bindir"
    find_ports "$@"
    trap leave EXIT
    say "The commands below run in $base, as user $owner."
}

# A script that ends too early leaves everything as it is, to be looked at.
leave() {
    [ $? != 0 ] || return 0
    echo "What there is was left in $base. To stop the servers and remove everything: $remove_command" >&2
}

# Ends what was started in addition to the servers. A script that names no processes has a function of its own instead.
stop_more() {
    local begun=$SECONDS pids
    # Some remove their file themselves when they end.
    # shellcheck disable=SC2016 # the inner shell expands it
    read -ra pids < <(on 1 sh -c 'cat run/*.pid 2>/dev/null | tr "\n" " "'; echo) || true
    [ ${#pids[@]} -gt 0 ] || return 0
    # The shell's own kill: no package brings the program to every machine.
    # shellcheck disable=SC2016 # the same
    on 1 sh -c 'kill -s "$0" "$@"' "$stop_signal" "${pids[@]}" 2>/dev/null || true
    # One that has exited but was not reaped is still listed.
    # shellcheck disable=SC2016 # the same
    while on 1 sh -c 'for pid; do grep "^State:" "/proc/$pid/status"; done | grep -qv zombie' sh "${pids[@]}" 2>/dev/null; do
        [ $((SECONDS - begun)) -lt 30 ] || die "what is named by $base/run/*.pid does not end"
        sleep 0.1
    done
}

remove() {
    local dir node
    pg_bindir=$(cat "$base/pg_bindir" 2>/dev/null || find_postgresql)
    stop_more
    # The last one first: standbys need not wait for a primary that is gone.
    for dir in $(printf '%s\n' "$base"/node*/data | sort -r); do
        node=${dir%/data}
        node=${node##*/node}
        if [ -d "$dir" ] && is_running "$node"; then on "$node" "$pg_bindir/pg_ctl" -s -w -D "$dir" -m fast stop; fi
    done
    # The user first: while there is something left of his, the directory is where to come back to.
    if [ -n "$own_user" ] && id "$owner" >/dev/null 2>&1; then
        userdel "$owner" || die "user $owner still runs something: end it, then try again. The servers are stopped."
    fi
    rm -rf "${base:?}"
    echo "Stopped the servers and removed $base."
}

finish() {
    say "Everything is as it was claimed."
    if [ -n "$keep" ]; then
        echo "The servers go on running, in $base. To stop them and remove everything: $remove_command"
    else
        remove
    fi
}
