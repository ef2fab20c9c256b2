"""A real server on loopback, for tests that need more than a test transport."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from server.admission.limits import ServerSettings
from server.app import WEB, create_app
from server.serving import configured
from step_audio.cli.certificate import KeyPair
from step_audio.core.ports import Services
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.settings import DialogSettings


@contextmanager
def serving(
    services: Services,
    settings: DialogSettings | None = None,
    limits: ServerSettings | None = None,
    *,
    tls: KeyPair | None = None,
    web: Path = WEB,
) -> Iterator[int]:
    """Run a server around `services` on a free port of loopback and yield the port."""
    assistant = Assistant(services, settings or DialogSettings())
    limits = limits or ServerSettings()
    config = configured(
        create_app(assistant, limits, web=web),
        limits,
        port=0,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
