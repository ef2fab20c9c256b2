"""/v1/audio/voices: which voices there are; adding one of somebody who agreed, removing it."""

from __future__ import annotations

import calendar
import contextlib
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, File, Form, UploadFile
from starlette.convertors import Convertor, register_url_convertor

from server.http.errors import RequestError, expects, responses
from server.http.uploads import decoded, warning_facts
from step_audio.core.errors import AudioError, VoiceNotFound
from step_audio.core.ports import Services, VoiceLibrary
from step_audio.core.types import Recording, VoiceFacts
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import RecordingTranscriber


class _VoiceId(Convertor[str]):
    """A name that may hold a slash; an address without a name is that of the list."""

    regex = ".+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("voice", _VoiceId())

MAX_RECORDING_S: Final = 60.0
_NO: Final = frozenset({"", "no", "false", "0", "none", "null", "off"})


def voices_router(assistant: Assistant) -> APIRouter:
    """Return the routes; without a library of voices the last two refuse."""
    router = APIRouter(tags=["voices"])
    services = assistant.services

    @router.get("/v1/audio/voices", responses=responses(400), summary="Which voices there are.")
    async def list_voices(legacy: bool = False) -> dict[str, Any]:
        if legacy:
            return {"voices": list(await assistant.with_voices(services.voices.names))}
        data = await assistant.with_voices(lambda: _listed(services))
        return {"object": "list", "data": data, "voices": data}

    @router.post(
        "/v1/audio/voices",
        dependencies=[Depends(expects("multipart/form-data"))],
        responses=responses(400, 413, 415),
        summary="Add the voice of somebody who agreed to it.",
    )
    async def add_voice(
        name: Annotated[str, Form(min_length=1, max_length=64)],
        consent: Annotated[
            str, Form(max_length=1000, description="who agreed to the use of this voice, in words")
        ],
        audio_sample: Annotated[UploadFile, File(description="3 to 30 s of one person")],
        text: Annotated[
            str, Form(max_length=2000, description="what is said in it; heard when left out")
        ] = "",
    ) -> dict[str, Any]:
        library = _library(services)
        if consent.strip().lower() in _NO:
            raise RequestError(
                "a voice is only added with the consent of the person; say who agreed",
                code="consent_required",
                param="consent",
            )
        sound = await decoded(services, audio_sample, max_s=MAX_RECORDING_S, param="audio_sample")
        pcm, rate_hz = sound.pcm, sound.rate_hz
        recording = Recording(pcm[:, None], rate_hz)
        try:
            words = text or await RecordingTranscriber(assistant).transcribe(pcm, rate_hz)
            facts = await assistant.with_voices(
                lambda: library.add(name, recording, text=words, consent=consent)
            )
        except AudioError as error:
            raise RequestError(str(error), code=error.code, param="audio_sample") from error
        return _facts(facts) | warning_facts(sound.warnings)

    @router.delete(
        "/v1/audio/voices/{voice_id:voice}",
        responses=responses(400, 404),
        summary="Forget a voice that was added, and erase its files.",
    )
    async def remove_voice(voice_id: str) -> dict[str, Any]:
        library = _library(services)
        try:
            await assistant.with_voices(lambda: library.remove(voice_id))
        except VoiceNotFound as error:
            raise RequestError(str(error), code=error.code, param="voice_id", status=404) from error
        return {"id": voice_id, "object": "audio.voice.deleted", "deleted": True}

    return router


def _library(services: Services) -> VoiceLibrary:
    if services.voice_library is None:
        raise RequestError(
            "this server keeps no voices besides those of its weights",
            code="unsupported_operation",
        )
    return services.voice_library


def _listed(services: Services) -> list[dict[str, Any]]:
    """Return the voices there are; one that is removed meanwhile is left out."""
    listed: list[dict[str, Any]] = []
    for name in services.voices.names():
        with contextlib.suppress(VoiceNotFound):
            listed.append(_shown(services, name))
    return listed


def _shown(services: Services, name: str) -> dict[str, Any]:
    if services.voice_library is None:
        return {"id": name, "object": "audio.voice", "name": name}
    return _facts(services.voice_library.facts(name))


def _facts(facts: VoiceFacts) -> dict[str, Any]:
    return {
        "id": facts.name,
        "object": "audio.voice",
        "name": facts.name,
        "built_in": facts.built_in,
        "created_at": _unix(facts.created),
        "notes": list(facts.notes),
    }


def _unix(created: str) -> int:
    """Return ISO 8601 UTC as seconds; 0 for a voice that shipped."""
    if not created:
        return 0
    return calendar.timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S"))
