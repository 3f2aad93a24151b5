#!/bin/sh
# Fetches a WAL file from the archive that archive-wal.sh ships to:
#
#   restore_command = '/usr/local/bin/restore-wal.sh backup-host:/srv/wal %f "%p"'
#
# Exit code 1 if the archive does not have it or cannot be reached. A standby then tries streaming, and the archive again
# later. It is never more than that: PostgreSQL stops at an exit code above 125, and ssh ends with 255 where a network is down.
# For a recovery to a point in time that is too patient: there, a network that is down must not look like the end of the archive.
set -eu

[ $# = 3 ] || { echo "usage: restore-wal.sh [HOST:]DIRECTORY NAME PATH" >&2; exit 1; }
archive=$1 name=$2 path=$3

case $name in *[!0-9A-Za-z.]*) echo "$name is no name of a WAL file" >&2; exit 1 ;; esac
case $archive in *\'*) echo "no quotes in the name of the archive, please" >&2; exit 1 ;; esac
case $archive in
    *:*)
        ssh -o BatchMode=yes -o ConnectTimeout=10 "${archive%%:*}" "test -e '${archive#*:}/$name' && cat '${archive#*:}/$name'" \
            >"$path" || { rm -f "$path"; exit 1; }
        ;;
    *)
        # That a file is not there yet is no error worth a line in the log.
        [ -e "$archive/$name" ] || exit 1
        cp "$archive/$name" "$path" || { rm -f "$path"; exit 1; }
        ;;
esac
