"""A server for the page of an application on another origin."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def pages(folder, *ports, page="<!doctype html><title>Application</title>"):
    """Serve ``page`` as /index.html at each of these ports, and return the ports: 0 is a free one."""
    (folder / "index.html").write_text(page)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    servers = [ThreadingHTTPServer(("127.0.0.1", port), handler) for port in ports]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    try:
        yield [server.server_port for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
