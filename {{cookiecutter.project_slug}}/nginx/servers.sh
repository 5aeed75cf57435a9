#!/bin/sh
# Write the servers of the upstream web. nginx resolves the name only after it has started:
# until then, it uses the backup servers.
{
    echo "server {{ "${UPSTREAM:-web:8000 resolve}" if cookiecutter.use_kubernetes else "web:8000 resolve" }} max_fails=0;"
    {{ '[ -n "${UPSTREAM:-}" ] || ' if cookiecutter.use_kubernetes }}timeout 2 getent ahostsv4 web | awk '/STREAM/ {print "server " $1 ":8000 backup;"}'
} > /tmp/servers.conf
