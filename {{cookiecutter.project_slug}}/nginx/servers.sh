#!/bin/sh
# Write which containers of web get the requests.
#   servers.sh               all
#   servers.sh ADDRESS...    these; all others only if none of these responds
set -eu

{
{% if cookiecutter.use_kubernetes %}
    if [ -n "${UPSTREAM:-}" ]; then # the container in the same pod
        echo "server $UPSTREAM max_fails=0;"
    elif [ $# -gt 0 ]; then
{% else %}
    if [ $# -gt 0 ]; then
{% endif %}
        for address in "$@"; do
            echo "server $address:8000;"
        done
        echo "server web:8000 resolve max_fails=0 backup;"
    else
        echo "server web:8000 resolve max_fails=0;"
        # nginx resolves the name only after it has started: until then, it uses these
        timeout 2 getent ahostsv4 web | awk '/STREAM/ {print "server " $1 ":8000 backup;"}'
    fi
} >/tmp/servers.conf
