"""The processes that decode strangers' sound. Run by `decoder_pool`, never by hand.

One process imports the codecs and then only forks: each file is decoded by a child of its own,
which waits ready, is bounded, and ends with its file. What a codec does to its memory ends there.

Control: a socket over which the server passes one end of a connection for each file. Connection:
`ASK` and the file one way, `REPLY`, its JSON and the samples the other. A connection that ends
early says that the child died. When the control socket ends, so do all of these.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from step_audio.core.decoding import AudioTooLong, decode_sound
from step_audio.core.errors import AudioError

ASK: Final = struct.Struct("<Qd")
"""Bytes of the file; most seconds of sound."""
REPLY: Final = struct.Struct("<II")
"""Bytes of the JSON that follows; samples behind it, float32."""
NICENESS: Final = 5
"""Whoever talks goes before whoever sends a file."""
_FORK_AFTER_S: Final = 0.02
_WARM_UP: Final = (
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data" + bytes(2052)
)


@dataclass(frozen=True, slots=True)
class FileBounds:
    """What one file may take."""

    wall_s: float
    memory_mib: float


def main() -> None:
    """Fork decoders until the server is gone.

    Arguments: the control socket, decoders that wait, seconds by the clock and MiB of memory that
    one may take.
    """
    control, spare = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    bounds = FileBounds(float(sys.argv[3]), float(sys.argv[4]))
    _settle()
    idle: deque[socket.socket] = deque()
    while True:
        # A fork waits until nothing is asked: the file that was just handed over goes first.
        control.settimeout(_FORK_AFTER_S if len(idle) < spare else None)
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except TimeoutError:
            idle.append(_forked(control, idle, bounds))
            continue
        if not message:
            return  # every decoder that waits sees its own socket end
        for descriptor in descriptors:
            _hand_over(descriptor, control, idle, bounds)
            os.close(descriptor)


def _settle() -> None:
    """Make this process ready to be forked."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server says when it is over
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux: when memory runs out, this goes before the server
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    import av.logging  # noqa: PLC0415

    av.logging.set_level(None)  # what ffmpeg says of strangers' files is no line of our log
    decode_sound(_WARM_UP, 1)
    gc.collect()
    gc.freeze()


def _hand_over(
    descriptor: int, control: socket.socket, idle: deque[socket.socket], bounds: FileBounds
) -> None:
    """Pass a connection to a decoder that waits; one that has died meanwhile is passed over."""
    while True:
        with idle.popleft() if idle else _forked(control, idle, bounds) as decoder:
            try:
                socket.send_fds(decoder, [b"f"], [descriptor])
            except OSError:
                continue
            return


def _forked(
    control: socket.socket, idle: deque[socket.socket], bounds: FileBounds
) -> socket.socket:
    """Return the socket of a new decoder."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    try:
        # Else it would keep alive what ends with the last to hold it.
        for other in (ours, control, *idle):
            other.close()
        _confine(bounds)
        decode_sound(_WARM_UP, 1)  # so that the pages it writes to are its own before it is asked
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        if descriptors:
            signal.setitimer(signal.ITIMER_REAL, bounds.wall_s)  # ends it, also within a codec
            _serve(socket.socket(fileno=descriptors[0]))
    finally:
        os._exit(0)


def _serve(connection: socket.socket) -> None:
    """Decode the one file of a connection."""
    size, max_seconds = ASK.unpack(_received(connection, ASK.size))
    pcm: np.ndarray[Any, Any] = np.zeros(0, np.float32)
    try:
        sound = decode_sound(_received(connection, size), max_seconds)
        pcm = np.ascontiguousarray(sound.pcm, dtype=np.float32)
        said: dict[str, Any] = {"rate_hz": sound.rate_hz, "warnings": sound.warnings}
    except AudioTooLong:
        said = {"too_long": True}
    except AudioError as error:
        said = {"refused": str(error)}
    except MemoryError:
        said = {"died": "memory"}
    except Exception as error:
        said = {"died": "failed", "why": f"{type(error).__name__}: {error}"[:500]}
    text = json.dumps(said).encode()
    connection.sendall(REPLY.pack(len(text), len(pcm)) + text)
    connection.sendall(pcm.data.cast("B") if len(pcm) else b"")


def _confine(bounds: FileBounds) -> None:
    """Bound this process: time of the CPU, memory, files; no core dump."""
    limits = [
        (resource.RLIMIT_CPU, max(1, int(bounds.wall_s) + 1)),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ]
    with contextlib.suppress(OSError, ValueError):  # Linux
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + int(bounds.memory_mib * 2**20)
        limits.append((resource.RLIMIT_AS, most))
    for kind, most in limits:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def _received(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes. Raises EOFError: the server has gone."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = connection.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    view.release()
    return bytes(data)


if __name__ == "__main__":
    main()
