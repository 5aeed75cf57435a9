"""Connections to Caddy, with settings that let tests run beside other services of the machine."""

import http.client
import os
import socket
import ssl

ADDRESS = os.environ.get("TRIAL_ADDRESS", "127.18.6.1")  # keeps two runs apart
SETTINGS = f"""
ACME_CA=https://pebble:14000/dir
BIND_ADDRESS={ADDRESS}
TRUSTED_HOSTS=shop.example, www.shop.example,.branch.example,localhost
"""


class Secure(http.client.HTTPConnection):
    """A connection to Caddy that checks the certificate, if it has roots to check it with."""

    def __init__(self, host, roots=None, timeout=20):
        super().__init__(host, 443, timeout=timeout)
        self.context = ssl.create_default_context(cadata=roots)
        self.context.check_hostname = bool(roots)
        self.context.verify_mode = ssl.CERT_REQUIRED if roots else ssl.CERT_NONE

    def connect(self):
        plain = socket.create_connection((ADDRESS, 443), self.timeout)
        self.sock = self.context.wrap_socket(plain, server_hostname=self.host)
