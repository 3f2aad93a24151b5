#!/usr/bin/env bash
# A lab: hosts with addresses of their own and an sshd each, on one machine, and networks between them that can be cut.
#
#   lab.sh up [COUNT]        make hosts 1 to COUNT (3)
#   lab.sh enter N [COMMAND ...]
#                            run a command on host N, or a shell
#   lab.sh own N DIRECTORY   the directory is on the disk of host N: the others see an empty one
#   lab.sh cut A B           packets between hosts A and B are lost silently
#   lab.sh drop A B          those from A to B do, those from B to A arrive
#   lab.sh isolate N         those between host N and all others do
#   lab.sh heal              all packets arrive again
#   lab.sh show              the hosts, and what is cut
#   lab.sh down              end everything that runs there, and remove the lab
#
# It lives in the directory that PGBATON_LAB names, or in /tmp/pgbaton-lab-UID. See README.md next to this script.
set -euo pipefail
umask 022

die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

script=$(readlink -f "$0")
# PostgreSQL refuses root, so what root makes belongs to the user of the tests.
if [ "$(id -u)" = 0 ]; then
    user=$(stat -c %U "${PGBATON_LAB:-/nowhere}" 2>/dev/null) || user=${PGBATON_TEST_USER:-pgbaton-test}
    id "$user" >/dev/null 2>&1 || die "root needs the user $user for this: tests/run.sh --only packages makes it"
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --no-new-privs -- \
        env HOME=/ USER="$user" LOGNAME="$user" "$script" "$@"
fi
lab=$(readlink -m "${PGBATON_LAB:-/tmp/pgbaton-lab-$(id -u)}")
# Where ip and sshd are.
PATH=$PATH:/usr/sbin:/sbin

# What the hosts have as their gateway.
hub_address=10.77.0.254
address() { echo "10.77.0.$1"; }

# The preference of the rules that drop packets, before those of the kernel.
cuts=1000

# Runs a command where the cables meet, with the rights to change anything there.
in_hub() { nsenter --target "$(cat "$lab/hub.pid")" --user --preserve-credentials --net --mount -- "$@"; }

# as_root_of N COMMAND...: the same on a host.
as_root_of() {
    local pid
    pid=$(cat "$lab/$1.pid" 2>/dev/null) || die "there is no host $1 in $lab"
    shift
    nsenter --target "$pid" --user --preserve-credentials --net --mount --uts -- "$@"
}

hosts() { cut -d' ' -f1 "$lab/hosts"; }

# hold PIDFILE COMMAND...: the command ends with a process that does nothing but keep namespaces alive.
hold() {
    local file=$1 pid tries=0
    shift
    (
        cd "$lab"
        exec "$@" sleep infinity </dev/null >/dev/null 2>"$lab/error"
    ) &
    pid=$!
    until [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; do
        kill -0 "$pid" 2>/dev/null || die "no namespaces: $(cat "$lab/error")"
        [ $((tries += 1)) -lt 200 ] || die "no namespaces after 10 s"
        sleep 0.05
    done
    echo "$pid" >"$file"
}

make_keys() {
    mkdir "$lab/ssh"
    ssh-keygen -q -t ed25519 -N '' -f "$lab/ssh/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$lab/ssh/key"
    printf '* %s\n' "$(cat "$lab/ssh/host_key.pub")" >"$lab/ssh/known_hosts"
    cat >"$lab/ssh/config" <<END
Host *
    IdentityFile $lab/ssh/key
    IdentitiesOnly yes
    UserKnownHostsFile $lab/ssh/known_hosts
END
}

# make_host N
make_host() {
    local n=$1 address
    address=$(address "$n")
    hold "$lab/$n.pid" nsenter --target "$(cat "$lab/hub.pid")" --user --preserve-credentials --net -- \
        unshare --net --mount --uts
    in_hub sh -c "ip link add h$n type veth peer name eth0 netns $(cat "$lab/$n.pid") && ip addr add $hub_address/32 dev h$n &&
        ip link set h$n up && ip route add $address dev h$n"
    as_root_of "$n" sh -c "hostname host$n && ip link set lo up && ip addr add $address/32 dev eth0 && ip link set eth0 up &&
        ip route add $hub_address dev eth0 scope link && ip route add default via $hub_address &&
        echo 1 >/proc/sys/net/ipv4/ip_unprivileged_port_start &&
        mount --bind '$lab/ssh/config' /etc/ssh/ssh_config && mount --bind '$lab/etc-hosts' /etc/hosts"
    # To itself a user is the same as outside, and without rights. One namespace for all that runs there: processes of one user have to see
    # each other's working directories.
    hold "$lab/$n.user" nsenter --target "$(cat "$lab/$n.pid")" --user --preserve-credentials -- \
        unshare --user --map-user="$(id -u)" --map-group="$(id -g)"
    cat >"$lab/ssh/sshd_config_$n" <<END
ListenAddress $address
HostKey $lab/ssh/host_key
AuthorizedKeysFile $lab/ssh/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
END
    "$lab/enter" "$n" /usr/sbin/sshd -D -f "$lab/ssh/sshd_config_$n" -E "$lab/ssh/log_$n" </dev/null >/dev/null 2>&1 &
}

up() {
    local count=${1:-3} n command
    [ ! -e "$lab" ] || die "$lab is there: lab.sh down removes it"
    mkdir -p "$lab"
    for n in $(seq "$count"); do
        echo "$n $(address "$n")" >>"$lab/hosts"
    done
    { cat /etc/hosts; sed 's/^\([0-9]*\) \(.*\)/\2 host\1/' "$lab/hosts"; } >"$lab/etc-hosts"
    for command in enter own; do
        printf '#!/bin/sh\nPGBATON_LAB=%q exec %q %s "$@"\n' "$lab" "$script" "$command" >"$lab/$command"
        chmod 755 "$lab/$command"
    done
    make_keys
    hold "$lab/hub.pid" unshare --user --map-root-user --net --mount
    in_hub sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    for n in $(seq "$count"); do make_host "$n"; done
}

enter() {
    local n=$1 pid
    shift
    [ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"
    pid=$(cat "$lab/$n.pid" 2>/dev/null) || die "there is no host $n in $lab"
    exec nsenter --target "$pid" --user --preserve-credentials --net --mount --uts --wdns="$PWD" -- \
        nsenter --target "$(cat "$lab/$n.user")" --user --preserve-credentials -- "$@"
}

# The others see an empty directory there.
own() {
    local directory n
    directory=$(readlink -m "$2")
    mkdir -p "$directory"
    for n in $(hosts); do
        [ "$n" = "$1" ] || as_root_of "$n" sh -c "mountpoint -q '$directory' || mount -t tmpfs tmpfs '$directory'"
    done
}

# What the hub does not forward is lost there silently, as if a switch were dead.
lose() { in_hub ip rule add pref "$cuts" "$@" blackhole; }

cut_between() {
    drop "$1" "$2"
    drop "$2" "$1"
}

drop() { lose iif "h$1" to "$(address "$2")"; }

isolate() {
    lose iif "h$1"
    lose to "$(address "$1")"
}

heal() { while in_hub ip rule del pref "$cuts" 2>/dev/null; do :; done; }

show() {
    sed 's/^/host /' "$lab/hosts"
    in_hub ip rule list pref "$cuts"
}

# Prints the processes on all hosts, or those that are called like this.
processes() {
    local networks process network
    networks=" $(for file in "$lab"/*.pid; do readlink "/proc/$(cat "$file")/ns/net" || true; done | tr '\n' ' ')"
    find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l %H\n' 2>/dev/null | while read -r network process; do
        process=${process%/ns/net}
        if [[ $networks = *" $network "* ]] && [[ -z ${1:-} || $(cat "$process/comm" 2>/dev/null) = "$1" ]]; then
            echo "${process#/proc/}"
        fi
    done || true
}

down() {
    local file pid tries=0
    [ -e "$lab/hosts" ] || die "there is no lab in $lab"
    for file in "$lab"/*.pid; do
        # Of one that is gone, the number may belong to another process by now.
        pid=$(cat "$file" 2>/dev/null) || continue
        [ "$(readlink "/proc/$pid/cwd" || true)" = "$lab" ] || rm "$file"
    done
    # A server that ends in its own way gives back its shared memory.
    processes postgres | xargs -r kill -QUIT 2>/dev/null || true
    while [ -n "$(processes postgres)" ] && [ $((tries += 1)) -lt 100 ]; do sleep 0.05; done
    processes | xargs -r kill -KILL 2>/dev/null || true
    rm -rf "$lab"
}

case ${1:-} in
    up | enter | own | drop | isolate | heal | show | down)
        command=$1
        shift
        "$command" "$@"
        ;;
    cut) cut_between "$2" "$3" ;;
    *)
        sed -n '2,17s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
esac
