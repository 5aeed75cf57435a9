#!/bin/sh
# The health check of the container: Caddy has loaded its configuration, and listens on port 443.
# The kernel lists it as 01BB, in hexadecimal, with the state 0A.
grep -q ':01BB .* 0A ' /proc/net/tcp /proc/net/tcp6
