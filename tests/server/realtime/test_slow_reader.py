"""A client that stops reading: what is held for it, what it is told, when it is given up."""

import json
import socket as sockets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from server.admission.limits import ServerSettings
from server.http.websocket import Socket
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.dial import ANSWER, LEGACY, ask, dial, drop, of, until
from tests.server.loopback import serving

# Far more than what the sockets' buffers hold: 144 s of sound, 9 MB of base64. The numbers keep
# the guard from taking it for a model that turns in circles.
GROUPS = 1200
TEXT = " ".join(f"On and on to {n}." for n in range(150))
LONG = interleave(text_ids(TEXT), [group(n) for n in range(GROUPS)], VOCAB)
WHOLE = GROUPS * 2 * 2880 * 4 // 3
LIMITS = ServerSettings(send_timeout_s=1.0)


@contextmanager
def deaf(port: int) -> Iterator[ClientConnection]:
    """Ask for a long answer over a narrow socket, and read nothing of it."""
    with sockets.socket() as narrow:
        narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 1 << 16)
        narrow.connect(("127.0.0.1", port))
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        client = connect(url, sock=narrow, max_size=None, max_queue=1, **LEGACY)
        ask(client)
        yield client
        with suppress(OSError):  # closed by the server
            drop(client)


def wait_for(engine: ScriptedEngine) -> None:
    """Wait until the answer was given up, as it is when its session ends."""
    deadline = time.monotonic() + 60
    while not engine.aborted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_reader_that_stops_reading_holds_up_nobody_and_loses_its_answer() -> None:
    engine = ScriptedEngine([LONG, ANSWER])
    with serving(services(engine), None, LIMITS) as port, deaf(port):
        with dial(port) as neighbour:
            ask(neighbour)
            done = until(neighbour, of("response.done"))[-1]
            assert done["response"]["status"] == "completed"
        wait_for(engine)


def test_who_reads_again_in_time_finds_what_was_sent_and_why_no_more_comes() -> None:
    engine = ScriptedEngine([LONG])
    with serving(services(engine), None, LIMITS) as port, deaf(port) as client:
        wait_for(engine)
        got = 0
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - whichever message it is
            while True:
                message = client.recv(20)
                assert json.loads(message)["type"] != "response.done"
                got += len(message)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert "read faster" in closed.value.rcvd.reason
        # What the kernel and the server's own 64 KiB held; most of the answer was never made.
        assert 0 < got < WHOLE * 0.8


def test_who_does_not_read_again_is_cut_off_after_the_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = threading.Event()

    class Watched(Socket):
        grace_s = 0.3

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr("server.serving.Socket", Watched)
    engine = ScriptedEngine([LONG])
    with serving(services(engine), None, LIMITS) as port, deaf(port):
        wait_for(engine)
        assert lost.wait(20)
