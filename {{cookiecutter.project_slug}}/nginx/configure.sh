#!/bin/sh
# Write the configuration of nginx, with the settings from the environment, and check it.
# With --check, nothing is changed: the configuration in use stays.
set -eu

# shellcheck disable=SC2016 # these are the names that envsubst replaces
{% if cookiecutter.use_tls or cookiecutter.use_kubernetes %}
names='$GRACEFUL_TIMEOUT $MAX_CONTENT_LENGTH $RATE_BURST $RATE_LIMIT $TRUSTED_NETWORK'
{% else %}
names='$GRACEFUL_TIMEOUT $MAX_CONTENT_LENGTH $RATE_BURST $RATE_LIMIT'
{% endif %}
envsubst "$names" </nginx/nginx.conf.template >/tmp/nginx.conf
sh /nginx/servers.sh
nginx -t -q -c /tmp/nginx.conf
if [ "${1:-}" != --check ]; then
    cd /var/cache/nginx
    cp /tmp/nginx.conf nginx.conf.new # it may fail, when the disk is full
    [ ! -e nginx.conf ] || cp nginx.conf nginx.conf.former # for reload.sh
    mv nginx.conf.new nginx.conf
fi
