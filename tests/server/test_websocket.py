"""The server's end of a websocket, as the log and a refused client see it."""

import logging

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from server.admission.limits import ServerSettings
from step_audio.core.keys import Keyring
from tests.fakes import ScriptedEngine, services
from tests.server.loopback import serving


class Ears(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def test_a_refused_upgrade_is_one_line_in_the_log() -> None:
    limits, ears = ServerSettings(keys=Keyring({}, "a key of sixteen and more")), Ears()
    log = logging.getLogger("uvicorn.error")
    with serving(services(ScriptedEngine([()])), None, limits) as port:
        log.addHandler(ears)
        log.setLevel(logging.INFO)
        try:
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{port}/v1/realtime")
        finally:
            log.setLevel(logging.WARNING)
    log.removeHandler(ears)
    assert refused.value.response.status_code == 401
    assert len(ears.lines) == 1
    assert ears.lines[0].startswith("INFO ")
    assert ears.lines[0].endswith('"WebSocket /v1/realtime" 401')
