#!/bin/sh
# Run a command with the hosts of TRUSTED_HOSTS as Caddy reads them: separated by spaces. The name
# .example.com, which includes subdomains, becomes example.com.
set -eu

HOSTS=$(echo "$TRUSTED_HOSTS" | sed 's/^[.]//; s/, *[.]*/ /g')
export HOSTS
exec "$@"
