"""What the processes of the cluster make; importable there, unlike what a test file holds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from step_audio.core.errors import InputError
from step_audio.data.gates import UtteranceGate
from step_audio.data.manifest import TextLine
from step_audio.data.readers import SpokenLine
from tests.data.sounds import ToneReader, gate
from tests.fakes import CountingTokenizer


def die_once(marker: Path) -> None:
    """End this process as the kernel would, unless somebody has died here before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class MortalReader(ToneReader):
    """Dies in the middle of one line, once in its data set."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self._marker = marker

    def read(self, line: TextLine) -> SpokenLine:
        spoken = super().read(line)
        if "number 7" in line.text:
            die_once(self._marker)
        return spoken


def mortal_gate(marker: Path) -> UtteranceGate:
    """Return a gate whose process dies as soon as it is made, once."""
    die_once(marker)
    return gate()


def mortal_tokenizer(marker: Path) -> CountingTokenizer:
    """Return a tokenizer whose process dies as soon as it is made, once."""
    die_once(marker)
    return CountingTokenizer()


def ends_its_process() -> Callable[[int], int]:
    """Return what no process survives."""

    def work(job: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return job

    return work


def refuses() -> Callable[[int], int]:
    """Return what refuses a job."""

    def work(job: int) -> int:
        if job == 3:
            raise InputError("three is no job")
        return job

    return work
