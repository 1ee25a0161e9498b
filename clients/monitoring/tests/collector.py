"""A collector of traces: takes OTLP over HTTP, in protobuf, and reads it with the protocol's own package."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


class Span:
    """A span, with the resource that it is of."""

    def __init__(self, resource, span):
        self.resource = {pair.key: value(pair.value) for pair in resource.attributes}
        self.attributes = {pair.key: value(pair.value) for pair in span.attributes}
        self.name, self.kind, self.code = span.name, span.kind, span.status.code
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.begin, self.end = span.start_time_unix_nano, span.end_time_unix_nano


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


class Collector:
    """Keeps every span that came. It can be away: then it answers 503."""

    def __init__(self):
        self.spans, self.requests, self.problems = [], [], []
        self.away = False
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = collector.take(self.path, self.headers, body)
                self.send_response(503 if answer is None else 200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer or b"")))
                self.end_headers()
                self.wfile.write(answer or b"")

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        self.requests.append((path, {name.lower(): value for name, value in headers.items()}))
        if self.away:
            return None
        try:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            for of in request.resource_spans:
                for scope in of.scope_spans:
                    self.spans += [Span(of.resource, span) for span in scope.spans]
        except Exception as problem:  # whatever it is, the test has to fail with it
            self.problems.append(problem)
        return ExportTraceServiceResponse().SerializeToString()

    def named(self, name, **attributes):
        """The spans of this name whose attributes are these; dots are written as two underscores."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= span.attributes.items()]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
