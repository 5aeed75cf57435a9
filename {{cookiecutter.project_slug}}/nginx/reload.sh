#!/bin/sh
# Load the configuration again; with --wait, wait until the earlier workers have finished their
# requests.
set -eu

# grep fails if a process ends before it is read
workers=$(grep -ls '^nginx: worker' /proc/[0-9]*/cmdline || true)
kill -HUP "$(cat /tmp/nginx.pid)"
[ "${1:-}" = --wait ] || exit 0
for worker in $workers; do
    while [ -e "$worker" ]; do
        sleep 0.1
    done
done
