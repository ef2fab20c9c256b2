"""A speech recognizer behind `/v1/audio/transcriptions`."""

from __future__ import annotations

import json
from typing import Any, Final

from step_audio.core.audio import wav_bytes
from step_audio.core.errors import EngineLost, EngineRefused
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Pcm, Transcript
from step_audio.endpoints.connection import Endpoint, content

_NAMES: Final = {
    "arabic": "ar", "bulgarian": "bg", "cantonese": "yue", "catalan": "ca", "chinese": "zh",
    "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl", "english": "en",
    "estonian": "et", "finnish": "fi", "french": "fr", "german": "de", "greek": "el",
    "hebrew": "he", "hindi": "hi", "hungarian": "hu", "indonesian": "id", "italian": "it",
    "japanese": "ja", "korean": "ko", "latvian": "lv", "lithuanian": "lt", "malay": "ms",
    "norwegian": "no", "persian": "fa", "polish": "pl", "portuguese": "pt", "romanian": "ro",
    "russian": "ru", "serbian": "sr", "slovak": "sk", "slovenian": "sl", "spanish": "es",
    "swedish": "sv", "tamil": "ta", "thai": "th", "turkish": "tr", "ukrainian": "uk",
    "urdu": "ur", "vietnamese": "vi", "welsh": "cy",
}  # fmt: skip
"""Whisper's servers tell languages by these names."""


class TranscriptionEndpoint:
    """A model of an OpenAI-compatible server: implements `core.ports.SpeechRecognizer`.

    Args:
        endpoint: the server.
        model: the name it serves it under.
    """

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint, self._model = endpoint, model
        self._verbose = True
        """Until the server refuses it: only so it tells the language."""

    async def recognize(
        self, pcm: Pcm, rate_hz: int, hints: RecognitionHints, *, live: bool = False
    ) -> Transcript:
        """Return the words and, where the server tells it, their language. Raises EngineError."""
        sound = wav_bytes(pcm, rate_hz)
        if self._verbose:
            try:
                return await self._ask(sound, hints, "verbose_json")
            except EngineRefused as refused:
                if refused.status not in (400, 422):
                    raise
                heard = await self._ask(sound, hints, "json")
                self._verbose = False
                return heard
        return await self._ask(sound, hints, "json")

    async def ready(self) -> bool:
        """Return whether the server is there and takes the key."""
        return await self._endpoint.answers()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._endpoint.aclose()

    async def _ask(self, sound: bytes, hints: RecognitionHints, response_format: str) -> Transcript:
        form = {"model": self._model, "response_format": response_format, "temperature": "0"}
        form |= {"language": hints.language} if hints.language else {}
        form |= {"prompt": hints.context} if hints.context else {}
        files = {"file": ("speech.wav", sound, "audio/wav")}
        async with self._endpoint.post("/audio/transcriptions", files=files, form=form) as reply:
            body = await content(reply, self._endpoint.url)
        try:
            told: Any = json.loads(body)
        except (ValueError, RecursionError):
            raise EngineLost(self._endpoint.url, "a transcript that is not JSON") from None
        match told:
            case {"text": str(text)}:
                return Transcript(text.strip(), _code(told.get("language")))
            case _:
                raise EngineLost(self._endpoint.url, "an answer without a transcript")


def _code(language: object) -> str:
    """Return a language's ISO 639-1 code, "" for one that is not known."""
    name = language.strip().lower() if isinstance(language, str) else ""
    return name if 2 <= len(name) <= 3 else _NAMES.get(name, "")
