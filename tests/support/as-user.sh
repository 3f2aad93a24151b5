#!/usr/bin/env bash
# Runs a test program as an unprivileged user: PostgreSQL refuses to run as root.
# Cargo calls it (CARGO_TARGET_<TRIPLE>_RUNNER, set by tests/run.sh) with the program and its arguments.
set -euo pipefail

user=${PGBATON_TEST_USER:-pgbaton-test}
if [ "$(id -u)" != 0 ]; then
    exec "$@"
fi
# Variables go through: tests/run.sh and its callers configure the tests by them. What says who is running must not.
exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --no-new-privs -- \
    env HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" LOGNAME="$user" "$@"
