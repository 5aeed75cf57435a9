"""A proxy for HTTPS in front of a server, as a load balancer is."""

import itertools
import re
import shutil
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager

import trustme


class Proxy(socketserver.StreamRequestHandler):
    """Forwards a request, with the address of the client."""

    def handle(self):
        head = b"".join(itertools.takewhile(bytes.strip, self.rfile))
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", head)
        head += b"Connection: close\r\n"
        head += b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n"
        size = re.search(rb"(?i)content-length: (\d+)", head)
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            server.sendall(head + self.rfile.read(int(size[1]) if size else 0))
            shutil.copyfileobj(server.makefile("rb"), self.wfile)


@contextmanager
def https(port, folder):
    """Run a proxy for HTTPS in front of a port; return its address and its certificate."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    certificate = folder / "ca.pem"
    authority.cert_pem.write_to_path(certificate)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.port = port
        later = {"do_handshake_on_connect": False}  # a browser opens connections in advance
        server.socket = context.wrap_socket(server.socket, server_side=True, **later)
        threading.Thread(target=server.serve_forever).start()
        yield f"https://127.0.0.1:{server.server_address[1]}", str(certificate)
        server.shutdown()
