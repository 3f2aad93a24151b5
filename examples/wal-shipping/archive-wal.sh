#!/bin/sh
# Ships a WAL file to an archive, on this host or on another one:
#
#   archive_command = '/usr/local/bin/archive-wal.sh backup-host:/srv/wal "%p" %f'
#   archive_command = '/usr/local/bin/archive-wal.sh /srv/wal "%p" %f'
#
# Exit code 0 only if the archive has this very file, on disk. One that is there already is never overwritten: with the same
# content it is archived (PostgreSQL asks twice after a crash), with another content another cluster archives to this place, a second
# primary perhaps, and that has to be looked at.
#
# The archive needs a POSIX shell and GNU coreutils, and ssh has to need no password. PostgreSQL tries again what has failed,
# forever; "pgbaton node check --archiver" reports it.
set -eu

[ $# = 3 ] || { echo "usage: archive-wal.sh [HOST:]DIRECTORY PATH NAME" >&2; exit 2; }
archive=$1 path=$2 name=$3

# This is run where the archive is, by its shell, with the file as its input. There are no single quotes in it.
# shellcheck disable=SC2016
receive='
set -eu
cd "$1"
name=$2 sum=$3
part=$(mktemp ".$name.XXXXXX")
trap "rm -f \"$part\"" EXIT
cat >"$part"
# A connection that broke looks like the end of the file.
[ "$(sha256sum <"$part")" = "$sum" ] || { echo "$name did not arrive whole" >&2; exit 1; }
chmod 640 "$part"
# The content before the name, and the name before the answer: what is answered for outlives a power failure.
sync "$part"
# ln, unlike mv, fails where the name is there, also if it has come there this moment.
if ! ln "$part" "$name" 2>/dev/null; then
    [ -e "$name" ] || { echo "$name cannot be linked in $1" >&2; exit 1; }
    cmp -s "$part" "$name" || { echo "$name is in the archive with another content, and is left as it is" >&2; exit 1; }
    sync "$name"
fi
sync .
'

# Whatever is put between quotes below has none of its own.
case $name in *[!0-9A-Za-z.]*) echo "$name is no name of a WAL file" >&2; exit 2 ;; esac
case $archive in *\'*) echo "no quotes in the name of the archive, please" >&2; exit 2 ;; esac
sum=$(sha256sum <"$path")
case $archive in
    *:*)
        exec ssh -o BatchMode=yes -o ConnectTimeout=10 "${archive%%:*}" \
            "exec sh -c '$receive' receive '${archive#*:}' '$name' '$sum'" <"$path"
        ;;
    *) exec sh -c "$receive" receive "$archive" "$name" "$sum" <"$path" ;;
esac
