"""A small hub on loopback: repositories in memory, ranges, and faults on demand."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """What is served, what was asked for, and what goes wrong.

    Attributes:
        repositories: name -> path -> content.
        cut: a path is cut off after so many bytes, once for each entry.
        reset: as `cut`, and the connection is torn down instead of closed.
        lie: paths whose content is not what their hash says.
        endless: paths whose content goes on after its end, without a length.
        answer: what any question about a repository is answered with.
        logins: the logins that came.
    """

    repositories: dict[str, dict[str, bytes]]
    lfs_from: int = 100
    resumes: bool = True
    cut: list[tuple[str, int]] = field(default_factory=list)
    reset: list[tuple[str, int]] = field(default_factory=list)
    lie: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    answer: bytes | None = None
    logins: set[str | None] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def listing(self, repository: str) -> bytes:
        siblings = []
        for path, content in self.repositories[repository].items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git}
            if len(content) >= self.lfs_from:
                entry["lfs"] = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                }
            siblings.append(entry)
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve until the end of the block; `hub.address` says where."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/models/"):
                hub.logins.add(self.headers["Authorization"])
                if hub.answer is not None:
                    self._answer(200, hub.answer)
                    return
                repository, _, _ = path.removeprefix("/api/models/").partition("/revision/")
                if repository not in hub.repositories:
                    self.send_error(401)
                    return
                self._answer(200, hub.listing(repository))
                return
            repository, _, rest = path[1:].partition("/resolve/")
            commit, _, name = rest.partition("/")
            hub.asked.append((name, self.headers["Range"]))
            content = hub.repositories.get(repository, {}).get(name)
            if content is None or commit != COMMIT:
                self.send_error(404)
                return
            if name in hub.lie:
                content = bytes(len(content))
            if name in hub.endless:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content * 100_000)
                return
            begin = 0
            if self.headers["Range"] and hub.resumes:
                begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            cut = next((c for c in hub.cut + hub.reset if c[0] == name), None)
            sent = content[begin : begin + cut[1]] if cut else content[begin:]
            self._answer(206 if begin else 200, sent, length=len(content) - begin)
            if cut in hub.cut:
                hub.cut.remove(cut)
            elif cut:
                hub.reset.remove(cut)
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

        def _answer(self, status: int, content: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
