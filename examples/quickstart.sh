#!/usr/bin/env bash
# A look at pgbaton in a few minutes: three PostgreSQL servers on this machine, a primary and two standbys, made and shown
# with the commands that a DBA would type.
#
#   examples/quickstart.sh           make them (or, if they are there, show them)
#   examples/quickstart.sh --stop    stop the servers and remove everything the script has made, but not the packages
#
# For Debian with Rust (https://rustup.rs). As an ordinary user it runs everything as that user; as root, the servers belong
# to a user pgbaton-demo, which is created, because PostgreSQL refuses root. Missing packages are installed with root's or
# sudo's rights, or named if there are none. Servers listen on 127.0.0.1 only, and ask for a password.
set -euo pipefail
umask 022

say() { printf '\n%s\n' "$*"; }
die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

tree=$(cd "$(dirname "$0")/.." && pwd)
is_root=''
[ "$(id -u)" != 0 ] || is_root=1
if [ -n "$is_root" ]; then owner='pgbaton-demo'; else owner=$(id -un); fi
base=${PGBATON_QUICKSTART_DIR:-/var/tmp/pgbaton-quickstart-$(id -un)}
stop_command=$0
[ -z "${PGBATON_QUICKSTART_DIR:-}" ] || stop_command="PGBATON_QUICKSTART_DIR=$base $stop_command"

as_owner() {
    # From a directory that the owner can read, and without variables that would send psql or pgbaton elsewhere.
    local clean=(env -i "PATH=$PATH" "LANG=${LANG:-C}" "TERM=${TERM:-dumb}" "HOME=$base/home" "USER=$owner")
    if [ -n "$is_root" ]; then
        (cd "$base" && runuser -u "$owner" -- "${clean[@]}" "$@")
    else
        (cd "$base" && "${clean[@]}" "$@")
    fi
}

# Shows a command as it could be typed.
show() {
    local word line=''
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@,-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
    done
    printf '\n$%s\n' "$line"
}

run() { show "$@"; as_owner "$@"; }

as_root() { if [ -n "$is_root" ]; then "$@"; else sudo -n "$@"; fi; }

find_postgresql() {
    local dir
    for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV); do
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
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
    # What cargo trusts the registry of crates by.
    [ -n "${SSL_CERT_FILE:-}${CARGO_HTTP_CAINFO:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ] ||
        missing+=(ca-certificates)
    [ -n "$(find_postgresql)" ] || missing+=(postgresql)
    if [ ${#missing[@]} -gt 0 ]; then
        if ! command -v apt-get >/dev/null || ! as_root true 2>/dev/null; then
            die "packages are missing. As root, run: apt-get update && apt-get install ${missing[*]}"
        fi
        say "Installing ${missing[*]} ..."
        # With the server package, Debian would make and start a server of its own, which nobody has asked for.
        local no_server=/etc/postgresql-common/createcluster.d/pgbaton-quickstart.conf
        as_root mkdir -p "$(dirname "$no_server")"
        echo 'create_main_cluster = false' | as_root tee "$no_server" >/dev/null
        as_root apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
        as_root rm "$no_server"
    fi
}

# A plain debug build: it takes half a minute where an optimised one takes several, and nobody sees the difference here.
build() {
    say "Building pgbaton (the first time, and with it all that it is made of, takes some minutes) ..."
    # A copy where the owner can run it: the checkout may be below /root.
    (cd "$tree" && cargo build --locked --quiet &&
        install -D -m 755 "${CARGO_TARGET_DIR:-target}/debug/pgbaton" "$base/bin/pgbaton")
}

# Says where to put things, and that it is ours. A predictable name in a directory that everybody can write to: somebody
# else's must not be used.
make_base() {
    if [ -n "$is_root" ] && ! id "$owner" >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir "$base" --shell /bin/sh "$owner"
    fi
    mkdir -p "$base"
    if [ -L "$base" ] || [ "$(stat -c %u "$base")" != "$(id -u)" ]; then die "$base belongs to somebody else"; fi
    # Where the password is kept.
    mkdir -p "$base/home"
    [ -z "$is_root" ] || chown "$owner:" "$base/home"
    chmod 700 "$base/home"
}

is_running() { as_owner "$pg_bindir/pg_ctl" -D "$base/$1/data" status >/dev/null 2>&1; }

# Puts the first ports from 5440 on where nothing listens into `ports`.
find_ports() {
    local port=5440
    ports=()
    while [ ${#ports[@]} -lt 3 ]; do
        # Connecting is the test that needs no other tool.
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports+=("$port")
        port=$((port + 1))
    done
}

# write_node ID PORT: the node's directory with its configuration of pgbaton.
write_node() {
    local id=$1 port=$2 dir=$base/node$1
    mkdir -p "$dir"
    chmod 700 "$dir"
    cat >"$dir/pgbaton.toml" <<END
node_id = $id
node_name = "node$id"
conninfo = "host=127.0.0.1 port=$port user=repmgr dbname=repmgr connect_timeout=5 passfile=$base/home/.pgpass"
passfile = "$base/home/.pgpass"
data_directory = "$dir/data"
pg_bindir = "$pg_bindir"
state_directory = "$dir/state"
END
    [ -z "$is_root" ] || chown -R "$owner:" "$dir"
}

# What a server is before anybody thinks of replication: only whoever owns it gets in without a password, over a socket that
# nobody else can open.
make_first_server() {
    local auth=(--auth-local=trust --auth-host=scram-sha-256)
    show "$pg_bindir/initdb" -D node1/data -U postgres "${auth[@]}"
    as_owner "$pg_bindir/initdb" -D node1/data -U postgres "${auth[@]}" >/dev/null
    as_owner tee -a node1/data/postgresql.conf >/dev/null <<END

listen_addresses = '127.0.0.1'
unix_socket_directories = '..'
port = ${ports[0]}
END
    run "$pg_bindir/pg_ctl" -s -w -D node1/data -l node1/postgresql.log start
}

# make_standby ID SOURCE_ID OPTION...
#
# A standby's postgresql.conf is a copy of its source's. That servers on one machine need different ports is seen by
# pgbaton, which sets the one in the node's conninfo.
make_standby() {
    local toml=node$1/pgbaton.toml port=${ports[$2 - 1]}
    shift 2
    run bin/pgbaton -f "$toml" standby clone -h 127.0.0.1 -p "$port" "$@"
    run bin/pgbaton -f "$toml" node start
    run bin/pgbaton -f "$toml" standby register "$@"
}

remove() {
    local node
    pg_bindir=$(cat "$base/pg_bindir" 2>/dev/null || find_postgresql)
    # Standbys first, so that none has to wait for a primary that is gone.
    for node in node3 node2 node1; do
        if [ -d "$base/$node/data" ] && is_running "$node"; then
            as_owner "$pg_bindir/pg_ctl" -s -w -D "$base/$node/data" -m fast stop
        fi
    done
    # The user first: while there is something left of his, the directory is where to come back to.
    if [ -n "$is_root" ] && id "$owner" >/dev/null 2>&1; then
        userdel "$owner" || die "user $owner still runs something: end it, then try again. The servers are stopped."
    fi
    rm -rf "${base:?}"
    echo "Stopped the servers and removed $base."
}

finish() {
    local try="cd $base && bin/pgbaton -f node2/pgbaton.toml node status"
    [ -z "$is_root" ] || try="cd $base && runuser -u $owner -- bin/pgbaton -f node2/pgbaton.toml node status"
    # Exit code 25: something is not as it should be, and the table says what.
    run bin/pgbaton -f node1/pgbaton.toml cluster show --compact || [ $? = 25 ]
    say "The servers go on running. To look at one:
    $try
To stop them and remove everything: $stop_command --stop"
}

case ${1:-} in
    '') ;;
    --stop)
        if [ ! -d "$base" ]; then
            echo "There is nothing in $base."
        else
            make_base
            remove
        fi
        exit
        ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
esac

find_cargo
install_packages
make_base
build

where="in $base"
[ -z "$is_root" ] || where+=", as user $owner"
say "The commands below run $where."

if [ -e "$base/complete" ]; then
    pg_bindir=$(cat "$base/pg_bindir")
    for node in node1 node2 node3; do
        is_running "$node" || run bin/pgbaton -f "$node/pgbaton.toml" node start
    done
    finish
    exit
fi
if [ -e "$base/pg_bindir" ]; then
    die "an earlier run was interrupted. Remove what it left first: $stop_command --stop"
fi

pg_bindir=$(find_postgresql)
echo "$pg_bindir" >"$base/pg_bindir"
find_ports
for id in 1 2 3; do write_node "$id" "${ports[id - 1]}"; done

say "An ordinary server."
make_first_server

others=(--node "127.0.0.1:${ports[1]}" --node "127.0.0.1:${ports[2]}")
say "What it has, and what it needs to be in a cluster. The exit code is 25: something is missing."
run bin/pgbaton -f node1/pgbaton.toml node prepare "${others[@]}" || [ $? = 25 ]

say "How that would be done, and then all of it. What takes a restart is said."
run bin/pgbaton -f node1/pgbaton.toml node prepare "${others[@]}" --apply --generate-password --dry-run
run bin/pgbaton -f node1/pgbaton.toml node prepare "${others[@]}" --apply --generate-password
run bin/pgbaton -f node1/pgbaton.toml node restart

say "It is the primary."
run bin/pgbaton -f node1/pgbaton.toml primary register

say "A standby of it: copied, started, registered."
make_standby 2 1

say "A standby of the standby."
make_standby 3 2 --upstream-node-id 2

say "The cluster:"
run bin/pgbaton -f node1/pgbaton.toml cluster show --compact || [ $? = 25 ]

say "A switchover: node2 becomes the primary, node1 its standby. Nothing is lost, and clients hardly notice."
run bin/pgbaton -f node2/pgbaton.toml standby switchover

say "The primary dies."
run "$pg_bindir/pg_ctl" -s -D node2/data -m immediate stop
run bin/pgbaton -f node1/pgbaton.toml cluster show --compact || [ $? = 25 ]

say "node1 takes over, and node3, which followed node2, follows it now."
run bin/pgbaton -f node1/pgbaton.toml standby promote

say "The host of node2 is back: its server becomes a standby again. What it alone had, if anything, is told first and kept aside."
run bin/pgbaton -f node2/pgbaton.toml node rejoin --force-rewind

touch "$base/complete"
finish
