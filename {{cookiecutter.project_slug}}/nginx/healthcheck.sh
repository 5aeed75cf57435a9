#!/bin/bash
# The health check of the container: nginx responds.
exec 3<>/dev/tcp/127.0.0.1/8081
printf 'GET / HTTP/1.0\r\n\r\n' >&3
grep -q ' 204 ' <&3
