#!/usr/bin/env bash
# Checks everything: formatting, lints, scripts, and all tests against real PostgreSQL servers.
#
#   tests/run.sh [--all] [--only PART]... [--list-parts] [ARGUMENTS FOR cargo test ...]
#
#   --all           slow tests too, every supported version of PostgreSQL, with repmgr 5.5 for 17 and 18, the crates that
#                   pgbaton is built from (part deny), and long model checks (part crates)
#   --only PART     only this part (again for more parts)
#   --list-parts    name the parts
#
#   tests/run.sh --only test standby         the tests whose name contains "standby"
#   tests/run.sh --only test --test all guard::  one module of tests
#
# For a Debian with Rust (https://rustup.rs), as root or as an ordinary user. What is missing is installed, with root's or
# sudo's rights, or named if there are none. As root, the tests run as an unprivileged user, pgbaton-test, which is created:
# PostgreSQL refuses root. Nothing is fetched that is already there.
#
# PGBATON_TEST_REQUIRE_ALL=1 (set by .ci/run): a missing tool or version of PostgreSQL is a failure.
# PGBATON_TEST_PG=DIR: use the PostgreSQL programs in DIR/N/bin. More variables: tests/support/mod.rs.
set -euo pipefail
umask 022

parts=(packages postgresql fmt clippy scripts deny doc crates test bare doctest)
chosen=()
while [ $# -gt 0 ]; do
    case $1 in
        --all) export PGBATON_TEST_SLOW=1 ;;
        --only) chosen+=("${2:?--only needs the name of a part}"); shift ;;
        --list-parts) printf '%s\n' "${parts[@]}"; exit ;;
        -h | --help) sed -n '2,19s/^# \{0,1\}//p' "$0"; exit ;;
        *) break ;;
    esac
    shift
done
test_arguments=("$@")
for part in "${chosen[@]}"; do
    [[ " ${parts[*]} " = *" $part "* ]] || { echo "ERROR: no such part: $part (one of ${parts[*]})" >&2; exit 2; }
done

tree=$(cd "$(dirname "$0")/.." && pwd)
cd "$tree"
required=${PGBATON_TEST_REQUIRE_ALL:-}
slow=${PGBATON_TEST_SLOW:-}
user=${PGBATON_TEST_USER:-pgbaton-test}
is_root=''
[ "$(id -u)" != 0 ] || is_root=1
# Where root's tests keep things between runs. For others it is their own cache.
if [ -n "$is_root" ]; then store=/var/cache/pgbaton-test; else store=${XDG_CACHE_HOME:-$HOME/.cache}/pgbaton-test; fi
# rustup's place is not on the PATH of every non-interactive shell.
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ -n "$is_root" ]; then "$@"; else sudo -n "$@"; fi
}

may_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

# ---- parts ----------------------------------------------------------------------------------------------------------

do_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
    pkg-config --exists libpq 2>/dev/null || missing+=(libpq-dev)
    # What cargo trusts the registry of crates by.
    [ -n "${SSL_CERT_FILE:-}${CARGO_HTTP_CAINFO:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ] ||
        missing+=(ca-certificates)
    command -v setpriv >/dev/null || missing+=(util-linux)
    # Useful but not needed: never a reason to fail, except where everything is required.
    local wanted=()
    command -v shellcheck >/dev/null || wanted+=(shellcheck)
    # Its own sshd is not needed, and the tests start theirs on another port.
    [ -x /usr/sbin/sshd ] || wanted+=(openssh-server)
    # For networks in namespaces, of the tests' own.
    command -v ip >/dev/null || [ -x /usr/sbin/ip ] || wanted+=(iproute2)
    # What some tests compare pgbaton with, in the release that has it: the real repmgr, and Debian's clusters. It brings a
    # server along, so it is not installed on every machine.
    if [ -n "$required" ] && [ ! -x /usr/lib/postgresql/15/bin/repmgr ] &&
        grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
        wanted+=(postgresql-15-repmgr)
    fi
    # For examples that are played in slow runs only.
    if [ -n "$slow" ]; then
        [ -x /usr/sbin/haproxy ] || wanted+=(haproxy)
        command -v socat >/dev/null || wanted+=(socat)
        [ -x /usr/sbin/pgpool ] || wanted+=(pgpool2)
    fi
    if [ ${#missing[@]} -gt 0 ] || { [ ${#wanted[@]} -gt 0 ] && [ -n "$required" ]; }; then
        may_install || die "packages are missing. As root, run: apt-get update && apt-get install ${missing[*]} ${wanted[*]}"
        # With a server package, Debian would make and start a server of its own, which is not needed.
        local no_server=/etc/postgresql-common/createcluster.d/pgbaton-test.conf
        as_root mkdir -p "$(dirname "$no_server")"
        echo 'create_main_cluster = false' | as_root tee "$no_server" >/dev/null
        as_root apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
            "${missing[@]}" "${wanted[@]}" >/dev/null
        as_root rm "$no_server"
    fi
    command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
    if [ -n "$is_root" ] && ! id "$user" >/dev/null 2>&1; then
        mkdir -p "$store"
        useradd --system --user-group --home-dir "$store/home" --create-home --shell /bin/sh "$user"
    fi
}

# has_all DIR VERSION...
has_all() {
    local dir=$1 version
    shift
    for version in "$@"; do [ -x "$dir/$version/bin/initdb" ] || return 1; done
    # What some slow tests compare pgbaton with.
    [ -z "$slow" ] || [ -z "$required" ] || { [ -x "$dir/17/bin/repmgr" ] && [ -x "$dir/18/bin/repmgr" ]; }
}

versions=(15)
[ -z "$required$slow" ] || versions=(13 15 17 18)

# The first directory that has every version that this run is about, if there is one.
find_postgresql() {
    local dir places=(/opt/pgtest "$store/pg" /var/cache/pgbaton-test/pg)
    # A machine's own PostgreSQL is good enough for a quick look.
    [ -n "$required$slow" ] || places+=(/usr/lib/postgresql)
    [ -z "${PGBATON_TEST_PG:-}" ] || places=("$PGBATON_TEST_PG")
    for dir in "${places[@]}"; do
        if has_all "$dir" "${versions[@]}"; then
            echo "$dir"
            return
        fi
    done
}

do_postgresql() {
    local found
    found=$(find_postgresql)
    if [ -z "$found" ]; then
        [ -z "${PGBATON_TEST_PG:-}" ] || die "PGBATON_TEST_PG=$PGBATON_TEST_PG lacks one of PostgreSQL ${versions[*]}" \
            "${required:+${slow:+or repmgr for 17 or 18}}"
        found=$store/pg
        tests/pg-versions.sh -d "$found" "${versions[@]}"
    fi
    # Only where this script has put PostgreSQL itself. Without it a few tests are skipped, or fail where all is required.
    if [ -n "$slow" ] && [ "$found" = "$store/pg" ]; then
        tests/pg-versions.sh -d "$found" -r 17 18 || [ -z "$required" ] || exit 1
    fi
}

do_fmt() { cargo fmt --all --check; }

do_clippy() {
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked -p pgbaton-fencer -p pgbaton-lease --features mutants --all-targets -- -D warnings
}

do_scripts() {
    local scripts=(tests/*.sh tests/lab/*.sh tests/support/*.sh examples/*.sh examples/*/*.sh .ci/run)
    if command -v shellcheck >/dev/null; then
        shellcheck "${scripts[@]}"
    else
        echo "shellcheck is not installed: only the syntax is checked"
        printf '%s\n' "${scripts[@]}" | xargs -n1 bash -n
    fi
}

# What pgbaton is built from, against deny.toml: licences, origins, crates that are not wanted or there twice. Known weaknesses
# only where there is a database of them, which comes from elsewhere: `cargo deny fetch db`.
do_deny() {
    if [ -z "$slow" ] && [[ " ${chosen[*]} " != *" deny "* ]]; then
        echo "only with --all, or by name"
        return
    fi
    local version=0.20.2 tools=$store/tools
    local deny=$tools/bin/cargo-deny
    if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
        # Unoptimized: it is built in half the time, and runs for a moment.
        if ! cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$version"; then
            [ -z "$required" ] || die "cargo-deny $version could not be installed"
            echo "cargo-deny $version could not be installed: the crates are not checked"
            return
        fi
    fi
    "$deny" --locked check bans licenses sources
    local database=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
    if [ -d "$database" ]; then
        "$deny" --locked --offline check advisories
    else
        echo "no database of advisories in $database: known weaknesses are not checked"
    fi
}

do_doc() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --workspace; }

# What the daemon is made of: its decisions, with every rule of them broken once, and the fencer. By themselves: what the program is
# built from has no broken rules.
do_crates() {
    if [ ${#test_arguments[@]} -gt 0 ]; then
        echo "only where all tests are run"
        return
    fi
    # The fencer's own tests are among those of the program (part test).
    cargo test --locked -p pgbaton-lease --features mutants -- --nocapture | grep -v '^ *[0-9]*  ' | tee -a "$results"
}

do_test() (
    local found
    found=$(find_postgresql)
    # Without one, tests say themselves what they miss.
    # shellcheck disable=SC2030 # for the tests only
    [ -z "$found" ] || export PGBATON_TEST_PG="$found"
    if [ -n "$is_root" ]; then
        use_readable_tree
        local triple
        triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
        export "CARGO_TARGET_${triple}_RUNNER=$PWD/tests/support/as-user.sh" PGBATON_TEST_USER="$user"
    fi
    # Most of them wait for servers most of the time. Slow ones do not: with more of them than processors, bounds are missed.
    local more=1
    [ -z "$slow" ] || more=0
    export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) + more))}"
    # The daemon starts the fencer beside it.
    cargo build --locked --quiet -p pgbaton-fencer
    # Documentation tests are a part of their own: rustdoc builds them where only root can execute them.
    if [ ${#test_arguments[@]} -gt 0 ]; then
        cargo test --locked "${test_arguments[@]}" | tee -a "$results"
    else
        cargo test --locked --all-targets --no-fail-fast | tee -a "$results"
    fi
)

# What a machine that has only what is needed would do, and one where a pgbaton is installed: nothing fails for that. Where not
# everything is required, the tests have just run on such a machine.
do_bare() (
    if [ -z "$required" ] || [ ${#test_arguments[@]} -gt 0 ]; then
        echo "only where everything is required, and all tests are run"
        return
    fi
    local found bare
    found=$(find_postgresql)
    bare=$(mktemp -d)
    trap 'rm -rf "$bare"' EXIT
    mkdir "$bare/pg" "$bare/bin"
    ln -s "$found/15" "$bare/pg/15"
    printf '#!/bin/sh\necho "the wrong pgbaton was run" >&2\nexit 1\n' >"$bare/bin/pgbaton"
    chmod -R a+rx "$bare"
    unset PGBATON_TEST_REQUIRE_ALL PGBATON_TEST_SLOW
    required='' slow=''
    # shellcheck disable=SC2031 # this is a subshell of its own, on purpose
    export PGBATON_TEST_PATH="$bare/bin" PGBATON_TEST_PG="$bare/pg"
    test_arguments=(--test all --
        does_not_answer_as_a_far_end cannot_do_its_part may_not_read_come_from may_keep_little for_want_of_a_version)
    do_test
)

do_doctest() (
    # Where the tests have just been built.
    [ -z "$is_root" ] || use_readable_tree
    cargo test --locked --doc | tee -a "$results"
)

# The unprivileged user must be able to read the sources and to execute what is built from them. A checkout below /root
# is copied to where that is so.
use_readable_tree() {
    local target=${CARGO_TARGET_DIR:-$PWD/target} copy=$store/tree
    mkdir -p "$target"
    if runuser -u "$user" -- test -x "$target" -a -x "$tree" &&
        [ -z "$(runuser -u "$user" -- find "$tree" \( -path "$tree/target" -o -name .git \) -prune -o ! -readable -print -quit)" ]
    then
        return
    fi
    echo "$user cannot read $tree or $target: testing a copy in $copy"
    mkdir -p "$copy"
    # What is built there stays: times of files are kept, so that the next run builds only what has changed.
    find "$copy" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    tar -C "$tree" --exclude=./target --exclude=./.git -cf - . | tar -C "$copy" -xf -
    chmod -R a+rX "$copy"
    cd "$copy"
    export CARGO_TARGET_DIR=$copy/target
}

# ---- all of them ----------------------------------------------------------------------------------------------------

report=()
failed=''
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for part in "${parts[@]}"; do
    if [ ${#chosen[@]} -gt 0 ] && [[ " ${chosen[*]} " != *" $part "* ]]; then continue; fi
    printf '\n== %s\n' "$part"
    begun=$SECONDS
    # In a subshell with `set -e`, which a function called in a condition would not have.
    set +e
    (set -e; "do_$part")
    status=$?
    set -e
    result=ok
    if [ $status != 0 ]; then
        result=FAILED
        failed=1
    fi
    report+=("$(printf '%-12s %-6s %4d s' "$part" "$result" $((SECONDS - begun)))")
    # Without these two nothing else can succeed.
    if [ $status != 0 ] && [[ $part = packages || $part = postgresql ]]; then break; fi
done
printf '\n'
printf '%s\n' "${report[@]}"
awk '/^test result:/ { ok += $4; bad += $6; skipped += $8 }
    END { if (ok + bad) printf "%d tests passed, %d failed, %d ignored\n", ok, bad, skipped }' "$results"
# What a reader of the last page wants to know.
if grep -q '^test .* FAILED$' "$results"; then
    printf '\n'
    grep '^test .* FAILED$' "$results"
    grep -A 8 '^thread .* panicked at ' "$results" | cut -c 1-400
fi
[ -z "$failed" ] || exit 1
