"""An OpenAI-compatible server on the loopback interface whose answers a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """An HTTP status with a body and headers of its own."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Reply = Callable[[dict[str, Any]], bytes | str | int | Refusal]
"""From a request's JSON body to bytes (sound), text (a completion), or a failure of HTTP."""


@dataclass
class Endpoint:
    """Its address, and the requests that came: (path, headers, body)."""

    url: str
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@contextmanager
def serving(reply: Reply) -> Iterator[Endpoint]:
    """Serve while the block runs."""
    endpoint = Endpoint("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.requests.append((self.path, dict(self.headers), body))
            made = reply(body)
            if isinstance(made, Refusal):
                content = made.body.encode()
                self.send_response(made.status)
                for name, value in made.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                return
            if isinstance(made, int):
                self.send_error(made)
                return
            if isinstance(made, str):
                made = json.dumps({"choices": [{"message": {"content": made}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(made)))
            self.end_headers()
            self.wfile.write(made)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
