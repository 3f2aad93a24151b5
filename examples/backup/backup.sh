#!/bin/sh
# A nightly base backup, on the node that is the primary that night. Install it on every node, for the same hour.
#
#   BACKUP_DIR       where backups go; storage that every node can write to, or a directory of each node's own
#   BACKUP_KEEP      how many are kept there (default 7)
#   PGBATON_CONFIG   pgbaton's configuration file (default /etc/pgbaton/pgbaton.toml)
#   PGHOST, PGPORT, PGUSER ...   how pg_basebackup connects to the server of this host, if the defaults do not do
#
# Exit code 0: a backup was made, or this node is a standby and has none to make. Anything else has to reach an operator.
set -eu
: "${BACKUP_DIR:?BACKUP_DIR has to name the directory for backups}"

check() { pgbaton -q node check --role="$1" >/dev/null; }

if ! check primary; then
    # It matters why not: with two primaries, or with none that can be asked, there would be no backup at all, without any notice.
    if check standby; then
        echo "This node is a standby: no backup is made here."
        exit 0
    fi
    echo "ERROR: it is not clear which node is the primary, and no backup was made here:" >&2
    pgbaton node check --role=primary >&2 || true
    exit 1
fi

# What an earlier night has left unfinished is of no use.
rm -rf "$BACKUP_DIR"/*.part
name=$(date -u +%Y%m%dT%H%M%SZ)
pg_basebackup -D "$BACKUP_DIR/$name.part" -c fast -X stream
# Only what is complete and undamaged gets the name of a backup.
pg_verifybackup -q "$BACKUP_DIR/$name.part"
mv "$BACKUP_DIR/$name.part" "$BACKUP_DIR/$name"
echo "This node is the primary: the backup is $BACKUP_DIR/$name."

# Their names are times: the oldest come first.
find "$BACKUP_DIR" -mindepth 1 -maxdepth 1 -name '*Z' | sort | head -n "-${BACKUP_KEEP:-7}" | xargs -r rm -rf
