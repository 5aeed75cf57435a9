# /// script
# requires-python = "==3.11.*" # of the wheels of rotel
# dependencies = ["opentelemetry-proto==1.45.2", "rotel==0.0.1a15"]
# ///
"""A collector: rotel receives spans over HTTP at HOST:PORT, and this program lists them at PORT + 1."""

import gzip
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

host, port = sys.argv[1], int(sys.argv[2])
received = []


def plain(attributes):
    """Return attributes as a dictionary."""
    return {
        a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value") for a in attributes
    }


def spans(body):
    """Return the spans of a request of rotel."""
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        for span in (span for scope in sent.scope_spans for span in scope.spans):
            ids = {"trace": span.trace_id, "id": span.span_id, "parent": span.parent_span_id}
            yield {name: value.hex() for name, value in ids.items()} | {
                "service": plain(sent.resource.attributes)["service.name"],
                "name": span.name,
                "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                **plain(span.attributes),
            }


class Listing(BaseHTTPRequestHandler):
    """Stores what rotel forwards, and returns it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        zipped = self.headers["Content-Encoding"] == "gzip"
        received.extend(spans(gzip.decompress(body) if zipped else body))
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(received, default=str).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


agent = Path(find_spec("rotel").origin).with_name("rotel-agent")
options = f"""
    --otlp-http-endpoint {host}:{port} --otlp-grpc-endpoint 127.0.0.1:{port + 2}
    --exporter otlp --otlp-exporter-protocol http --otlp-exporter-endpoint http://127.0.0.1:{port + 1}
"""
rotel = subprocess.Popen([agent, "start", *options.split()])
try:
    ThreadingHTTPServer(("127.0.0.1", port + 1), Listing).serve_forever()
finally:
    rotel.terminate()
