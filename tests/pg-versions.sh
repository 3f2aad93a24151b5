#!/usr/bin/env bash
# Puts several major versions of PostgreSQL side by side under one plain directory, without root and without touching the
# machine's own packages:
#
#   tests/pg-versions.sh [-d DIR] [-f] [-r] [VERSION ...]
#
#   -d DIR    where to install (default: /var/cache/pgbaton-test/pg for root, ~/.cache/pgbaton-test/pg for others)
#   -f        again, even if it is there (needed after DIR was moved: paths in it are absolute)
#   -r        repmgr too, its programs and its extension
#   VERSION   any of 13 15 17 18 (default: all)
#
# Result: DIR/17/bin/{initdb,postgres,pg_ctl,psql,...}, to be run by any user under that path; with -r, DIR/17/bin/repmgr
# and repmgrd as well: 5.2 for 13, 5.3 for 15, 5.5 for 17 and 18.
#
# How: every version is in some Debian release. A private apt configuration per version, with the machine's own mirror and
# apt's ordinary signature checks, resolves the packages against an empty dpkg status, so the list includes libc. They are
# unpacked without running any maintainer script. patchelf then sets in each program the loader and the library path of its
# own directory; so the program of a newer release runs here, and no LD_LIBRARY_PATH leaks into archive_command and the like.
#
# Needs: Debian on amd64 with apt-get and dpkg-deb; about 90 MB a version. With a warm DIR/.cache it needs no network.
set -euo pipefail

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
say() { printf '%s\n' "$*" >&2; }
die() { say "ERROR: $*"; exit 1; }

force=''
with_repmgr=''
if [ "$(id -u)" = 0 ]; then dir=/var/cache/pgbaton-test/pg; else dir=${XDG_CACHE_HOME:-$HOME/.cache}/pgbaton-test/pg; fi
while getopts d:fr option; do
    case $option in d) dir=$OPTARG ;; f) force=1 ;; r) with_repmgr=1 ;; *) usage ;; esac
done
shift $((OPTIND - 1))
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(13 15 17 18)

umask 022
mkdir -p "$dir/.cache"
dir=$(cd "$dir" && pwd)
cache=$dir/.cache
# Two runs at once would unpack over each other.
exec 9>"$cache/lock"
flock 9

# The last thing that is written for a version: what lacks it, or has been moved, is made again.
is_ready() { [ "$(cat "$dir/$1/ready" 2>/dev/null)" = "$dir/$1" ] && "$dir/$1/bin/postgres" --version >/dev/null 2>&1; }
has_repmgr() { [ "$(cat "$dir/$1/repmgr-ready" 2>/dev/null)" = "$dir/$1" ] && "$dir/$1/bin/repmgr" --version >/dev/null 2>&1; }

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

find_mirror() {
    local all
    # shellcheck disable=SC2016  # $(REPO_URI) is apt's own syntax
    all=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 2>/dev/null || true)
    # Before the first `apt-get update` that list is empty.
    [ -n "$all" ] || all=$(grep -rhoE '^[^#]*https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
        grep -oE 'https?://[^ ]+' || true)
    grep -E "/$1/?\$" <<<"$all" | sed 's#/*$##' | sort -u | head -1
}

prepare() {
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die "this works on Debian for amd64 only: elsewhere, install" \
        "PostgreSQL in DIR/N/bin yourself and set PGBATON_TEST_PG=DIR"
    [ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring)"
    mirror=${DEBIAN_MIRROR:-$(find_mirror debian)}
    [ -n "$mirror" ] || die "apt knows no Debian mirror: set DEBIAN_MIRROR to the URL of one"
    security=${DEBIAN_SECURITY_MIRROR:-$(find_mirror debian-security)}
    security=${security:-$mirror-security}
    patchelf=$(command -v patchelf || echo "$cache/tools/usr/bin/patchelf")
    if [ ! -x "$patchelf" ]; then
        make_apt tools 15
        (cd "$cache" && with_apt tools apt-get -qq download patchelf && dpkg-deb -x patchelf_*.deb tools)
    fi
}

suite_of() {
    case $1 in
        13) echo bullseye ;; 15) echo bookworm ;; 17) echo trixie ;; 18) echo forky ;;
        *) die "no Debian release is known for PostgreSQL $1" ;;
    esac
}

with_apt() { local name=$1; shift; APT_CONFIG=$cache/apt-$name/apt.conf "$@"; }

# make_apt NAME VERSION: a private apt configuration for the release that has this version of PostgreSQL.
make_apt() {
    local root=$cache/apt-$1 suite
    suite=$(suite_of "$2")
    mkdir -p "$root"/etc/apt/{sources.list.d,preferences.d,apt.conf.d,trusted.gpg.d} \
        "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial "$root"/var/lib/dpkg
    : >"$root/var/lib/dpkg/status"
    if [ "$suite" = forky ]; then
        # Not released: no security suite yet, and a mirror that lags may be past its Valid-Until.
        echo "deb [signed-by=$keyring check-valid-until=no] $mirror $suite main"
    else
        echo "deb [signed-by=$keyring] $mirror $suite main"
        echo "deb [signed-by=$keyring] $security $suite-security main"
    fi >"$root/etc/apt/sources.list"
    if [ "$suite" = forky ] && [ -n "$with_repmgr" ]; then
        # Only the unstable release has repmgr for 18 (end of 2026). Nothing else is taken from there.
        echo "deb [signed-by=$keyring check-valid-until=no] $mirror sid main" >>"$root/etc/apt/sources.list"
        printf 'Package: *\nPin: release n=sid\nPin-Priority: 100\n' >"$root/etc/apt/preferences.d/sid"
    fi
    cat >"$root/apt.conf" <<END
Dir "$root";
Dir::State::status "$root/var/lib/dpkg/status";
APT::Architecture "amd64"; APT::Architectures { "amd64"; };
APT::Install-Recommends "false"; APT::Sandbox::User "";
Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; Acquire::GzipIndexes "true";
Acquire::Languages "none"; Acquire::Retries "3"; Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Debug::NoLocking "true";
END
    # Offline, lists of an earlier run will do.
    with_apt "$1" apt-get -qq update || compgen -G "$root/var/lib/apt/lists/*Packages*" >/dev/null
}

# Libraries among the dependencies that no program of PostgreSQL links to.
unneeded='^(libperl|libllvm|libz3|libsystemd-shared|libdebconf|libtext-|libio-|libipc-|libjson-(perl|xs)|libpam-modules|libpam-runtime'
unneeded+='|libsemanage|libsepol|libdb5|libgdbm|libncursesw|libproc|libmount|libblkid|libc-l10n|libsasl2-modules'
unneeded+='|libaudit-common|libtirpc-common|libc-bin|libc-gconv|libnss-|libfdisk|libsmartcols)'

# wanted_packages VERSION PACKAGE: the package and what of its dependencies is needed here.
wanted_packages() {
    with_apt "$1" apt-get -qq -y --no-install-recommends install --print-uris "$2" |
        awk '/^\x27/ { sub(/_.*/, "", $2); print $2 }' | sort -u |
        awk -v version="$1" -v unneeded="$unneeded" '
            $0 ~ "^postgresql-(client-)?" version "(-repmgr)?$" { print }
            (/^lib/ || $0 == "zlib1g") && $0 !~ unneeded { print }'
}

# unpack VERSION LIST: downloads the packages of the list and unpacks them.
unpack() {
    local version=$1 root=$dir/$1/root debs=$cache/debs/$1 list=$2 package path
    # Checks hashes, and skips what is there.
    (cd "$debs" && xargs -a "$list" env APT_CONFIG="$cache/apt-$version/apt.conf" apt-get -qq download)
    while read -r package; do
        # The cache may hold older versions of the same package.
        path=$(find "$debs" -name "${package}_*.deb" -printf '%T@ %p\n' | sort -rn | head -1 | cut -d' ' -f2-)
        dpkg-deb -x "$path" "$root"
    done <"$debs/$list"
    # JIT needs LLVM, which is bigger than everything else together. Without the module, jit = on has no effect.
    rm -rf "$root/usr/lib/postgresql/$version"/lib/{llvmjit.so,bitcode} "$root/usr/share/postgresql/$version/man"
    rm -rf "$root"/usr/share/{doc,man,lintian,bug,locale}
}

# fit VERSION PROGRAM...: has the programs run with the libraries next to them.
fit() {
    local version=$1 root=$dir/$1/root program loader libraries path
    shift
    loader=$(find "$root" -name ld-linux-x86-64.so.2 -path '*lib64*' | head -1)
    [ -n "$loader" ] || loader=$(find "$root" -name ld-linux-x86-64.so.2 | head -1)
    # In releases without merged /usr it is an absolute link, which would lead to the machine's own loader.
    if [ -L "$loader" ]; then
        case $(readlink "$loader") in "$root"/*) ;; /*) ln -sf "$root$(readlink "$loader")" "$loader" ;; esac
    fi
    loader=$(readlink -f "$loader")
    libraries=''
    for path in "$root/usr/lib/x86_64-linux-gnu" "$root/lib/x86_64-linux-gnu" "$root/usr/lib"; do
        [ ! -d "$path" ] || libraries+=${libraries:+:}$path
    done
    for program in "$@"; do
        # Some are scripts. RPATH instead of RUNPATH, because it also serves what libraries and modules need themselves.
        if head -c4 "$program" | grep -q ELF; then
            "$patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program"
            if "$loader" --list "$program" | grep -E '=> (not found|/(usr/)?lib)'; then
                die "PostgreSQL $version: a library of $program was not found in $root"
            fi
        fi
    done
}

install_version() {
    local version=$1 home=$dir/$1 root=$dir/$1/root debs=$cache/debs/$1 program
    make_apt "$version" "$version"
    rm -rf "${home:?}"
    mkdir -p "$root" "$debs"
    wanted_packages "$version" "postgresql-$version" >"$debs/list"
    unpack "$version" list
    fit "$version" "$root/usr/lib/postgresql/$version"/bin/*
    ln -s "root/usr/lib/postgresql/$version/bin" "$home/bin"
    ln -s "root/usr/lib/postgresql/$version/lib" "$home/lib"

    for program in initdb postgres pg_ctl pg_basebackup pg_rewind pg_controldata psql; do
        "$home/bin/$program" --version >/dev/null || die "PostgreSQL $version: $program does not run"
    done
    echo "$home" >"$home/ready"
    say "$("$home/bin/postgres" --version) is in $home"
}

# Adds to a version that is there, and may be in use: what it has stays as it is.
install_repmgr() {
    local version=$1 home=$dir/$1 debs=$cache/debs/$1 programs=$dir/$1/root/usr/lib/postgresql/$1/bin
    make_apt "$version" "$version"
    wanted_packages "$version" "postgresql-$version-repmgr" | grep -vxFf "$debs/list" >"$debs/list-repmgr" || true
    unpack "$version" list-repmgr
    fit "$version" "$programs/repmgr" "$programs/repmgrd"
    # repmgrd refuses root.
    "$home/bin/repmgr" --version >/dev/null || die "PostgreSQL $version: repmgr does not run"
    echo "$home" >"$home/repmgr-ready"
    say "$("$home/bin/repmgr" --version) is in $home"
}

prepared=''
for version in "${versions[@]}"; do
    suite_of "$version" >/dev/null
    is_there=''
    if [ -z "$force" ] && is_ready "$version"; then is_there=1; fi
    if [ -n "$is_there" ] && { [ -z "$with_repmgr" ] || has_repmgr "$version"; }; then continue; fi
    [ -n "$prepared" ] || prepare
    prepared=1
    [ -n "$is_there" ] || install_version "$version"
    [ -z "$with_repmgr" ] || install_repmgr "$version"
done
