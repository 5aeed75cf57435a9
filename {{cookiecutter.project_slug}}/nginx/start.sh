#!/bin/sh
# Start nginx with the configuration that configure.sh has written.
set -eu

sh /nginx/servers.sh
exec nginx -c /var/cache/nginx/nginx.conf
