"""Strangers' sound decoded elsewhere: one file may cost only its own answer.

The processes: `decoder_process`. They are started ahead, share nothing with the server but sockets,
and end with it, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from step_audio.core.decoder_process import ASK, REPLY
from step_audio.core.decoding import MAX_RATE_HZ, AudioTooLong
from step_audio.core.errors import AudioError, Overloaded
from step_audio.core.types import DecodedSound, Pcm

_LOG = logging.getLogger(__name__)

_PROCESS: Final = "step_audio.core.decoder_process"
_MOST_JSON: Final = 1 << 16
_SLACK_S: Final = 5.0
"""A decoder ends itself; the server waits so much longer before it gives it up."""


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Bounds of decoding.

    Attributes:
        at_once: files decoded at a time; others wait in line.
        spare: decoders that wait ready.
        wall_s: longest time for one file.
        memory_mib: what decoding one file may take.
        restarts: how often within `restarts_s` the process that forks decoders is started anew.
    """

    at_once: int = 2
    spare: int = 2
    wall_s: float = 60.0
    memory_mib: float = 768.0
    restarts: int = 5
    restarts_s: float = 60.0


class DecoderDied(AudioError):
    """A file at which its decoder died, or was ended: nobody can read it.

    Attributes:
        reason: crashed, memory, time or failed.
    """

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(f"this sound file cannot be decoded: {_REASONS[reason]}; export it again")
        self.reason, self.why = reason, why


_REASONS: Final = {
    "crashed": "the codec broke off",
    "memory": "it asks for more memory than a file may have",
    "time": "it takes longer than a file may take",
    "failed": "the codec failed",
}


class DecoderPool:
    """A `SoundDecoder` whose work is done by processes of its own. Shared by all threads."""

    def __init__(self, limits: DecoderLimits = DecoderLimits()) -> None:
        self._limits = limits
        self._observe: Callable[[str, float], None] = lambda name, value: None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._starts: deque[float] = deque(maxlen=limits.restarts)
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="decoder")

    def start(self, observe: Callable[[str, float], None]) -> None:
        """Start the processes and return at once; without it the first file starts them.

        Args:
            observe: is told measures: `decode_s`, `decoder_deaths`, `decoder_restarts`.
        """
        self._observe = observe
        with self._lock, contextlib.suppress(Overloaded):  # else each file tries again
            self._started()

    async def decode(self, data: bytes, max_seconds: float) -> DecodedSound:
        """Return what can be heard of a file, as `decode_sound` does.

        Raises:
            AudioTooLong, AudioError: nothing can be heard. DecoderDied: its decoder did not live.
            Overloaded: no decoder can be started.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.decoded, data, max_seconds)

    def decoded(self, data: bytes, max_seconds: float) -> DecodedSound:
        """Return and raise the same; this thread waits."""
        begun_s = time.monotonic()
        try:
            sound = self._tried_twice(data, max_seconds)
        except DecoderDied as died:
            self._observe(f"decoder_deaths.{died.reason}", 1)
            facts = {"reason": died.reason, "why": died.why, "file_bytes": len(data)}
            _LOG.warning("a decoder died", extra=facts)
            raise
        self._observe("decode_s", time.monotonic() - begun_s)
        return sound

    def close(self) -> None:
        """End the processes: what is being decoded is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._end()

    def _tried_twice(self, data: bytes, max_seconds: float) -> DecodedSound:
        """Decode; once more when the process that forks was lost, and the file with it."""
        for is_last in (False, True):
            begun_s = time.monotonic()
            connection, control = self._connection()
            with connection:
                try:
                    return self._asked(connection, data, max_seconds)
                except TimeoutError:
                    raise DecoderDied("time") from None
                except (EOFError, OSError) as error:
                    late = time.monotonic() - begun_s > 0.9 * self._limits.wall_s
                    if late or is_last or not _has_ended(control):
                        raise DecoderDied("time" if late else "crashed") from error
        raise AssertionError("unreachable")

    def _asked(self, connection: socket.socket, data: bytes, max_seconds: float) -> DecodedSound:
        """Send a file and return the answer. Raises EOFError, OSError: the decoder has gone."""
        limits = self._limits
        connection.settimeout(limits.wall_s + _SLACK_S)
        connection.sendall(ASK.pack(len(data), max_seconds))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may say why
            connection.sendall(data)
        length, samples = REPLY.unpack(_received(connection, REPLY.size))
        # A decoder is as little trusted as the file that it read.
        if length > _MOST_JSON or samples > max_seconds * MAX_RATE_HZ:
            raise DecoderDied("failed", "an answer out of bounds")
        try:
            said: dict[str, Any] = json.loads(_received(connection, length))
        except ValueError:
            raise DecoderDied("failed", "an answer that is no JSON") from None
        if said.get("too_long"):
            raise AudioTooLong(max_seconds)
        if "refused" in said:
            raise AudioError(str(said["refused"]))
        if "died" in said:
            raise DecoderDied(
                said["died"] if said["died"] in _REASONS else "failed", str(said.get("why", ""))
            )
        pcm: Pcm = np.frombuffer(_received(connection, 4 * samples), dtype=np.float32)
        return DecodedSound(pcm, int(said["rate_hz"]), tuple(map(str, said["warnings"])))

    def _connection(self) -> tuple[socket.socket, socket.socket]:
        """Return a connection to a fresh decoder, and the control socket it was asked over."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                control = self._handed_over(theirs)
            except BaseException:
                ours.close()
                raise
        return ours, control

    def _handed_over(self, theirs: socket.socket) -> socket.socket:
        """Pass one end of a connection to a decoder, and return the control socket."""
        for _ in range(2):
            with self._lock:
                control = self._started()
                try:
                    socket.send_fds(control, [b"f"], [theirs.fileno()])
                    return control
                except OSError:  # it died since it was last asked
                    self._end()
        raise Overloaded("sound cannot be decoded now; try again later")

    def _started(self) -> socket.socket:
        """Return the control socket; starts the process if it is not there. Holds the lock."""
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None or self._control is None:
            now_s = time.monotonic()
            if len(self._starts) == self._starts.maxlen and (
                now_s - self._starts[0] < self._limits.restarts_s
            ):
                raise Overloaded("sound cannot be decoded now; try again later")
            if self._starts:
                self._observe("decoder_restarts", 1)
                _LOG.error("the process that forks decoders was lost")
            self._starts.append(now_s)
            try:
                self._process, self._control = _spawned(self._limits)
            except OSError as error:
                _LOG.error("no process for decoders", extra={"why": str(error)})
                raise Overloaded("sound cannot be decoded now; try again later") from error
        return self._control

    def _end(self) -> None:
        """Let the process end. Holds the lock."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None


def _has_ended(control: socket.socket) -> bool:
    """Whether the process at the other end is gone: its sockets close before it can be reaped."""
    try:
        return control.fileno() < 0 or not control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _spawned(limits: DecoderLimits) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process that forks decoders; it has a session of its own, for Ctrl-C is not its."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
    ours, theirs = socket.socketpair()
    facts = (theirs.fileno(), limits.spare, limits.wall_s, limits.memory_mib)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", _PROCESS, *map(str, facts)],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, "PYTHONPATH": path, **_ONE_THREAD},
            )
        except OSError:
            ours.close()
            raise
    return process, ours


_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def _received(connection: socket.socket, size: int) -> bytearray:
    """Return so many bytes. Raises EOFError: the decoder has gone."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = connection.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    view.release()
    return data
