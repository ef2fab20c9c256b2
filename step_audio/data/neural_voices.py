"""Speech by the neural voices of Kokoro-82M and Piper, on the CPU, with phones by espeak-ng.

Only data of their packages is loaded (`voice_files`): ONNX graphs, style vectors, phone tables.
Sources: Kokoro-82M v1.0 (StyleTTS 2, arXiv:2306.07691); Piper (VITS, arXiv:2106.06103).
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.types import Pcm
from step_audio.data.voice_files import (
    KOKORO_MODEL,
    KOKORO_PHONES,
    PIPER_CONFIG,
    PIPER_MODEL,
    voice_path,
)

KOKORO_RATE_HZ: Final = 24_000
STYLE_WIDTH: Final = 256
BLEND: Final = "+"
_LONGEST: Final = 508
"""Phones of one utterance; a style has 510 rows, one for each length."""

_BOTH: Final = (
    ("tʃ", "ʧ"),
    ("dʒ", "ʤ"),
    ("eɪ", "A"),
    ("oʊ", "O"),
    ("əʊ", "Q"),
    ("aɪ", "I"),
    ("aʊ", "W"),
    ("ɔɪ", "Y"),
    ("ɚ", "əɹ"),
    ("ɾ", "T"),
    ("ᵻ", "ɪ"),
    ("oː", "ɔ"),
    ("n̩", "ən"),
    ("l̩", "əl"),
    ("r", "ɹ"),
    ("ɐ", "ə"),
)
_AMERICAN: Final = (*_BOTH, ("ɜː", "ɜɹ"), ("ː", ""))
"""espeak-ng's phones as Kokoro writes them; British voices keep their long vowels."""

_lock = threading.Lock()


class PhonesMissing(StepAudioError):
    """espeak-ng, which turns text into phones, is not installed."""

    code = "phones_missing"


def kokoro(text: str, voice: str, rate: float = 1.0, *, threads: int = 1) -> tuple[Pcm, int]:
    """Return the text spoken by a voice of Kokoro or by the mean of several, and its rate in Hz.

    Args:
        text: letters and punctuation.
        voice: name of a style, such as "af_heart"; "af_heart+am_adam" is nobody, between the two.
        rate: factor of the speed.
        threads: of the network.

    Raises:
        InputError: no such voice, or more than 508 phones.
        VoicesMissing, PhonesMissing: the message says how to get them.
    """
    british = voice.startswith("b")
    table = _kokoro_phones()
    spoken = _as_kokoro(_phones(text, "en-gb" if british else "en-us"), british)
    end = text.rstrip()[-1:]
    ids = [table[phone] for phone in spoken + (end if end in "?!" else ".") if phone in table]
    if len(ids) > _LONGEST:
        raise InputError(f"{text[:40]!r}... has {len(ids)} phones; Kokoro speaks up to {_LONGEST}")
    styles = [_style(name) for name in voice.split(BLEND)]
    style = np.mean([rows[len(ids)] for rows in styles], axis=0, dtype=np.float32)
    inputs = {
        "tokens": np.array([[0, *ids, 0]], dtype=np.int64),
        "style": style.reshape(1, STYLE_WIDTH),
        "speed": np.array([rate], dtype=np.float32),
    }
    return _run(KOKORO_MODEL, inputs, threads), KOKORO_RATE_HZ


def piper(text: str, rate: float = 1.0) -> tuple[Pcm, int]:
    """Return the text spoken by Piper's "joe" and its rate in Hz; raises as `kokoro`.

    The noise that varies melody and length is left out: equal texts give equal samples.
    """
    config = _piper_config()
    table: dict[str, list[int]] = config["phoneme_id_map"]
    end = text.rstrip()[-1:]
    spoken = _phones(text, str(config["espeak"]["voice"])) + (end if end in "?!" else ".")
    ids = list(table["^"])
    for phone in spoken:
        ids += table["_"] + table.get(phone, [])
    ids += table["_"] + table["$"]
    inputs = {
        "input": np.array([ids], dtype=np.int64),
        "input_lengths": np.array([len(ids)], dtype=np.int64),
        "scales": np.array([0.0, 1.0 / rate, 0.0], dtype=np.float32),
    }
    return _run(PIPER_MODEL, inputs), int(config["audio"]["sample_rate"])


def _phones(text: str, language: str) -> str:
    """Return espeak-ng's phones (IPA), clauses apart by commas."""
    command = ["espeak-ng", "-q", "--ipa=3", "--sep=", "-v", language, "--stdin"]
    try:
        done = subprocess.run(
            command, input=text.encode("utf-8"), capture_output=True, timeout=30, check=True
        )
    except FileNotFoundError:
        raise PhonesMissing(
            "espeak-ng is not installed; on Debian: apt install espeak-ng"
        ) from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise InputError(f"espeak-ng has no phones for {text[:40]!r}") from None
    printed = done.stdout.decode("utf-8")
    clauses = [clause.strip() for clause in printed.splitlines() if clause.strip()]
    return re.sub("[_\u200d]", "", ", ".join(clauses))


def _as_kokoro(phones: str, british: bool) -> str:
    phones = phones.replace("ə͡l", "əl")
    for theirs, ours in _BOTH if british else _AMERICAN:
        phones = phones.replace(theirs, ours)
    return phones


def _run(model: str, inputs: Mapping[str, object], threads: int = 1) -> Pcm:
    with _lock:
        samples = _session(model, threads).run(None, dict(inputs))[0]
    pcm: Pcm = np.asarray(samples, dtype=np.float32).ravel()
    return pcm


@cache
def _session(model: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    path = str(voice_path(model))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@cache
def _style(name: str) -> NDArray[np.float32]:
    if not re.fullmatch(r"[a-z]{2}_[a-z]+", name):
        raise InputError(f"bad voice name {name!r}")
    path = voice_path(f"styles/{name}.bin")
    return np.fromfile(path, dtype="<f4").reshape(-1, STYLE_WIDTH)


@cache
def _kokoro_phones() -> dict[str, int]:
    table: dict[str, int] = json.loads(voice_path(KOKORO_PHONES).read_text("utf-8"))["vocab"]
    return table


@cache
def _piper_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(voice_path(PIPER_CONFIG).read_text("utf-8"))
    return config
