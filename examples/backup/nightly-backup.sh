#!/usr/bin/env bash
# A nightly backup that is installed on both nodes and runs only on the primary, wherever that is: two nights, with a
# switchover between them, and one in which there are two primaries.
#
#   examples/backup/nightly-backup.sh           plays it, and removes everything at its end
#   examples/backup/nightly-backup.sh --keep    leaves the servers running
#   examples/backup/nightly-backup.sh --stop    stops them and removes everything
set -euo pipefail

example=backup
# shellcheck source=examples/common.sh
. "$(dirname "$0")/../common.sh"

# night NODE: what cron or the timer runs there.
night() {
    show "$1" bin/backup.sh
    on "$1" env "PATH=$base/bin:$pg_bindir:$PATH" "BACKUP_DIR=$base/backups" BACKUP_KEEP=2 \
        "PGBATON_CONFIG=$base/node$1/pgbaton.toml" "PGHOST=$base/node$1" "PGPORT=$(port "$1")" PGUSER=postgres bin/backup.sh
}

backups() { on "$1" ls backups | wc -l; }

# says TEXT NODE: what the night there has to print.
says() {
    local said
    said=$(night "$2")
    printf '%s\n' "$said"
    [[ $said = *"$1"* ]] || die "node$2 does not say \"$1\""
}

stop_more() { on 2 "$pg_bindir/pg_ctl" -s -D restored/data -m immediate stop >/dev/null 2>&1 || true; }

options "$@"
begin 2
for node in 1 2; do write_node "$node"; done
install_program "$tree/examples/backup/backup.sh"
make_directory backups

say "A primary and a standby."
make_primary 1
make_standby 2 1
write 1 'CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i'

say "The first night: node1 is the primary."
says "the primary: the backup is" 1
says "a standby: no backup" 2
expect "backups" "$(backups 1)" 1

say "During the day, the role moves."
pgbaton 2 standby switchover
expect "the primary" "$(primaries)" node2
write 2 'INSERT INTO orders SELECT i FROM generate_series(1001, 1500) AS i'

say "The second night, with the same lines in both crontabs: node2 is the primary."
says "a standby: no backup" 1
says "the primary: the backup is" 2
expect "backups" "$(backups 2)" 2

say "A backup is one that can be used: the newest one is restored, separately from the cluster, and has every order."
newest=$(on 2 ls backups | tail -n 1)
make_directory restored
run 2 cp -a "backups/$newest" restored/data
# Neither to be reached by others, nor to be taken for one of the nodes.
settings="-c listen_addresses= -c unix_socket_directories=$base/restored"
run 2 "$pg_bindir/pg_ctl" -s -w -D restored/data -l restored/log -o "$settings" start
orders=$(on 2 "$pg_bindir/psql" -X -A -t -h "$base/restored" -p "$(port 2)" -U postgres -c 'SELECT count(*) FROM orders')
run 2 "$pg_bindir/pg_ctl" -s -D restored/data -m immediate stop
expect "orders in the backup" "$orders" 1500

say "The third night: the last two are kept."
says "a standby: no backup" 1
says "the primary: the backup is" 2
expect "backups" "$(backups 2)" 2
expect "the oldest one" "$(on 2 ls backups | head -n 1)" "$newest"

say "The fourth night: node1 was promoted by hand. A backup of one of two primaries must not hide the split brain."
before=$(on 2 ls backups)
quietly run 1 "$pg_bindir/pg_ctl" -s -w -D node1/data promote
expect_code 1 night 1
expect_code 1 night 2
expect "backups as before" "$([ "$(on 2 ls backups)" != "$before" ] || echo t)" t

finish
