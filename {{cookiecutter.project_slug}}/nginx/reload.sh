#!/bin/sh
# Load the configuration again; with --wait, wait until the earlier workers have finished their
# requests. If nginx refuses the configuration, the former one is put back.
set -eu

workers() { # grep fails if a process ends before it is read
    grep -ls '^nginx: worker' /proc/[0-9]*/cmdline || true
}

earlier=$(workers)
kill -HUP "$(cat /tmp/nginx.pid)"

# nginx starts new workers as soon as it has accepted the configuration: a worker (-x, a whole line)
# that is none of the earlier ones (-vF)
attempts=100 # ten seconds
until workers | grep -qvxF "$earlier"; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
        mv -f /var/cache/nginx/nginx.conf.former /var/cache/nginx/nginx.conf || true
        echo "nginx has not loaded the configuration: see its log." >&2
        echo "If the key of a zone has changed, give the zone another name." >&2
        exit 1
    fi
    sleep 0.1
done
# It is in use: if a later reload fails, what was in use before it must not return.
rm -f /var/cache/nginx/nginx.conf.former

[ "${1:-}" = --wait ] || exit 0
for worker in $earlier; do
    while [ -e "$worker" ]; do
        sleep 0.1
    done
done
