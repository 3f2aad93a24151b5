#!/bin/sh
# Answers one HTTP request on standard input: GET /primary and GET /standby are 200 if the node of this host is that, else 503.
#
#   health.sh CONFIGURATION
#
# For socket activation (pgbaton-health.socket), inetd, or "socat TCP-LISTEN:8008,reuseaddr,fork EXEC:...". It runs as the user that
# the server belongs to.
set -u

config=${1:?}
answer() {
    printf 'HTTP/1.0 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s\n' "$1" "$2"
    exit
}

read -r _ path _ || exit
# The rest of the request is read, or the answer would be cut off.
while read -r line && [ "$(printf '%s' "$line" | tr -d '\r')" != '' ]; do :; done
case $path in
    /primary | /standby) role=${path#/} ;;
    *) answer '404 Not Found' 'GET /primary or /standby' ;;
esac
# Sooner than HAProxy gives up: a host that does not answer must not make this one look dead.
if found=$(pgbaton -f "$config" --timeout 4 node check --role="$role" 2>&1); then
    answer '200 OK' "$found"
else
    answer '503 Service Unavailable' "$found"
fi
