"""Decoders in processes of their own: what they survive, and what they leave behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.decoder_pool import DecoderDied, DecoderLimits, DecoderPool
from step_audio.core.decoding import AudioTooLong
from step_audio.core.errors import AudioError, Overloaded
from tests.sound_files import KINDS, a_tone_of, sound_file, tone

WAV = a_tone_of("wav", 0.5)
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


class Pool(DecoderPool):
    """A pool whose process and measures tests look at."""

    def __init__(self, limits: DecoderLimits) -> None:
        super().__init__(limits)
        self.seen: list[str] = []
        self.start(lambda name, value: self.seen.append(name))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def decoders(self) -> list[int]:
        """Return the ids of the decoders that wait, when those that worked have ended."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline, before = time.monotonic() + 20, [0]
        while True:
            found = [int(part) for part in task.read_text().split()]
            if (len(found) == 2 and found == before) or time.monotonic() > deadline:
                return found
            before = found
            time.sleep(0.1)  # who has ended its file ends itself, and a fork follows


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(DecoderLimits(wall_s=20.0))
    yield made
    made.close()


@pytest.fixture
def make_pool() -> Iterator[Callable[[DecoderLimits], Pool]]:
    made: list[Pool] = []

    def make(limits: DecoderLimits) -> Pool:
        made.append(Pool(limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, pids))


def test_what_comes_back_is_what_this_process_would_have_decoded(pool: Pool) -> None:
    sound = pool.decoded(WAV, 5)
    assert (sound.rate_hz, sound.warnings) == (24_000, ())
    np.testing.assert_allclose(sound.pcm, tone(0.5, 24_000)[:, 0], atol=1e-4)
    assert pool.decoded(WAV[: len(WAV) // 2], 5).warnings[0].endswith("were skipped")
    assert pool.seen == ["decode_s", "decode_s"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_decoded_there(pool: Pool, kind: str) -> None:
    assert pool.decoded(a_tone_of(kind, 0.5), 5).seconds == pytest.approx(0.5, abs=0.1)


def test_errors_are_those_of_the_decoder(pool: Pool) -> None:
    with pytest.raises(AudioTooLong, match=r"longer than 0\.1 s"):
        pool.decoded(WAV, 0.1)
    with pytest.raises(AudioError, match="an HTML page"):
        pool.decoded(b"<html>", 5)
    assert pool.seen == []


@LINUX
def test_family_1_a_decoder_that_crashes_costs_only_its_own_file(pool: Pool) -> None:
    pool.decoded(WAV, 5)
    for pid in pool.decoders():
        os.kill(pid, signal.SIGSTOP)  # so that the file meets one that is there and cannot answer
    stopped = pool.decoders()

    async def three() -> list[object]:
        asked = [asyncio.create_task(pool.decode(WAV, 5)) for _ in range(3)]
        await asyncio.sleep(0.1)
        os.kill(stopped[0], signal.SIGSEGV)
        os.kill(stopped[0], signal.SIGCONT)
        os.kill(stopped[1], signal.SIGCONT)
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        answers = asyncio.run(three())
    finally:
        for pid in filter(alive, stopped):  # a stopped process does not notice that all is over
            os.kill(pid, signal.SIGKILL)
    died = [answer for answer in answers if isinstance(answer, DecoderDied)]
    assert [each.reason for each in died] == ["crashed"]
    assert "codec broke off; export it again" in str(died[0])
    assert pool.seen.count("decoder_deaths.crashed") == 1
    assert pool.seen.count("decode_s") == 3
    assert pool.process.poll() is None


def test_family_1_a_decoder_that_takes_too_long_is_ended(
    make_pool: Callable[[DecoderLimits], Pool],
) -> None:
    pool = make_pool(DecoderLimits(wall_s=0.02))
    with pytest.raises(DecoderDied, match="takes longer than a file may take"):
        pool.decoded(sound_file("wav", tone(200.0, 24_000), 24_000), 600)
    assert pool.seen == ["decoder_deaths.time"]


@LINUX
def test_family_1_a_decoder_that_wants_too_much_memory_is_refused_it(
    make_pool: Callable[[DecoderLimits], Pool],
) -> None:
    pool = make_pool(DecoderLimits(memory_mib=8))
    with pytest.raises(DecoderDied, match="more memory than a file may have"):
        pool.decoded(sound_file("wav", tone(300.0, 24_000), 24_000), 600)
    assert pool.seen == ["decoder_deaths.memory"]
    assert pool.decoded(WAV, 5).seconds == 0.5


@LINUX
def test_each_file_has_a_decoder_of_its_own_and_others_wait_ready(pool: Pool) -> None:
    pool.decoded(WAV, 5)
    met: set[int] = set()
    for _ in range(5):
        met |= set(pool.decoders())
        pool.decoded(WAV, 5)
    assert len(met) >= 5
    assert len(pool.decoders()) == 2


@LINUX
def test_a_lost_process_is_started_again_and_its_file_decoded(pool: Pool) -> None:
    pool.decoded(WAV, 5)
    old = [pool.process.pid, *pool.decoders()]
    pool.process.kill()
    assert pool.decoded(WAV, 5).seconds == 0.5
    assert gone(old)
    assert pool.seen == ["decode_s", "decoder_restarts", "decode_s"]


def test_restarts_are_bounded(make_pool: Callable[[DecoderLimits], Pool]) -> None:
    pool = make_pool(DecoderLimits(restarts=3))
    for _ in range(2):
        pool.process.kill()
        pool.process.wait()
        pool.decoded(WAV, 5)
    pool.process.kill()
    pool.process.wait()
    with pytest.raises(Overloaded, match="cannot be decoded now"):
        pool.decoded(WAV, 5)
    assert pool.seen.count("decoder_restarts") == 2


def test_a_machine_without_room_for_a_process_is_busy_and_not_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pool = Pool(DecoderLimits())
    try:
        with pytest.raises(Overloaded, match="cannot be decoded now"):
            pool.decoded(WAV, 5)
    finally:
        pool.close()


@LINUX
def test_the_processes_end_with_the_pool(pool: Pool) -> None:
    pool.decoded(WAV, 5)
    pids = [pool.process.pid, *pool.decoders()]
    assert len(pids) == 3
    pool.close()
    assert gone(pids)


@LINUX
def test_the_processes_end_when_the_server_is_killed() -> None:
    program = (
        "import time; from tests.core.test_decoder_pool import Pool, DecoderLimits, WAV;"
        "pool = Pool(DecoderLimits()); pool.decoded(WAV, 5);"
        "print(pool.process.pid, *pool.decoders(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pids = [int(part) for part in server.stdout.readline().split()]
        assert len(pids) == 3
        server.kill()
    assert gone(pids)


@LINUX
def test_a_decoder_holds_no_more_than_its_connection(pool: Pool) -> None:
    pool.decoded(WAV, 5)
    for pid in pool.decoders():
        held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum("socket" in name for name in held) == 1


def test_decoders_load_no_model_runtime() -> None:
    program = (
        "import sys; import step_audio.core.decoder_process;"
        "print([name for name in ('torch', 'pydantic', 'starlette', 'onnxruntime', 'soundfile')"
        " if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert out.stdout.strip() == b"[]"
