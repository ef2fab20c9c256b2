"""Recognisers that hear answers for the judges, by name.

    whisper               Whisper base of `make nano-voices`, in this process
    whisper:MODEL         a folder in CTranslate2's format, or a name: small, large-v3
    paraformer            Paraformer-zh by the package funasr, the sets' own for Chinese
    http://HOST/v1#MODEL  any server with /audio/transcriptions

Sets name recognisers of their own (Whisper large-v3, Paraformer); figures of others do not compare,
so the name stands in every report.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Protocol

import httpx
import soxr

from step_audio.core.audio import wav_bytes
from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.types import Pcm
from step_audio.data.llm import EndpointError
from step_audio.eval import whisper

_PARAFORMER: Final = ("paraformer-zh", "v2.0.4", "fsmn-vad", "ct-punc-c")
_PARAFORMER_HZ: Final = 16_000


class ParaformerMissing(StepAudioError):
    """The package funasr is not installed."""

    code = "paraformer_missing"

    def __init__(self) -> None:
        super().__init__("Paraformer needs the package funasr: pip install funasr")


class AnswerRecognizer(Protocol):
    """Sound to words; `name` tells which recogniser it is. `hear` may be called from any thread."""

    @property
    def name(self) -> str: ...
    def hear(self, pcm: Pcm, rate_hz: int, language: str, /) -> str: ...


def open_recognizer(name: str, key: str = "") -> AnswerRecognizer | None:
    """Return a recogniser by its name, None for "none".

    Raises:
        InputError: no such name.
    """
    kind, _, model = name.partition(":")
    if name == "none":
        return None
    if name.startswith(("http://", "https://")):
        return TranscribedAnswers(name, key)
    if kind == "whisper":
        return WhisperAnswers(model)
    if name == "paraformer":
        return ParaformerAnswers()
    raise InputError(
        f"no recogniser {name!r}; there are none, whisper, whisper:MODEL, paraformer and"
        " http://HOST/v1#MODEL"
    )


class WhisperAnswers:
    """Whisper in this process."""

    def __init__(self, model: str = "") -> None:
        self._model = model
        self.name = f"whisper:{model}" if model else "whisper base"

    def hear(self, pcm: Pcm, rate_hz: int, language: str, /) -> str:
        """Return the words. Raises WhisperMissing, VoicesMissing, WeightsError, AudioError."""
        return whisper.hear(pcm, rate_hz, language, self._model)


class ParaformerAnswers:
    """Paraformer-zh, whose weights funasr fetches the first time."""

    name = f"{_PARAFORMER[0]} {_PARAFORMER[1]}"

    def hear(self, pcm: Pcm, rate_hz: int, language: str, /) -> str:
        """Return the words. Raises ParaformerMissing."""
        sound = soxr.resample(pcm, rate_hz, _PARAFORMER_HZ) if rate_hz != _PARAFORMER_HZ else pcm
        found = _paraformer().generate(input=sound, fs=_PARAFORMER_HZ, disable_pbar=True)
        return "".join(str(piece.get("text", "")) for piece in found)


class TranscribedAnswers:
    """A recogniser behind `/audio/transcriptions`.

    Args:
        address: base address up to and with /v1, `#` and the model's name; without, `whisper-1`.
    """

    def __init__(self, address: str, key: str = "") -> None:
        url, _, model = address.partition("#")
        self._url, self._model, self._key = url.rstrip("/"), model or "whisper-1", key
        self.name = f"{self._model} at {self._url}"

    def hear(self, pcm: Pcm, rate_hz: int, language: str, /) -> str:
        """Return the words. Raises EndpointError."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        form = {"model": self._model, "response_format": "json", "temperature": "0"}
        form |= {"language": language} if language else {}
        files = {"file": ("answer.wav", wav_bytes(pcm, rate_hz), "audio/wav")}
        where = f"{self._url}/audio/transcriptions"
        try:
            answer = httpx.post(where, data=form, files=files, headers=headers, timeout=120)
            answer.raise_for_status()
            text = answer.json()["text"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{where} gave no transcript: {str(error)[:200]}") from None
        return str(text)


@cache
def _paraformer() -> Any:
    try:
        from funasr import AutoModel  # noqa: PLC0415 - a user's own package
    except ImportError:
        raise ParaformerMissing from None
    model, revision, vad, punctuation = _PARAFORMER
    return AutoModel(model=model, model_revision=revision, vad_model=vad, punc_model=punctuation)
