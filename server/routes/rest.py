"""Every route that is no session: models, voices, speech, transcripts, completions, their page."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer

from server.admission.limits import ServerSettings, Slots
from server.routes.chat.route import chat_router
from server.routes.docs.route import docs_router
from server.routes.models import models_router
from server.routes.roles import roles_router
from server.routes.speech import speech_router
from server.routes.transcriptions import transcriptions_router
from server.routes.tts.endpoint import tts_router
from server.routes.voices import voices_router
from server.voice_names import VoiceNames
from step_audio.dialog.assistant import Assistant


def rest_router(
    assistant: Assistant, settings: ServerSettings, sessions: Slots, requests: Slots
) -> APIRouter:
    """Return the routes. What speaks or listens holds one of `requests` meanwhile, a socket that
    takes text one of `sessions`."""
    names = VoiceNames(assistant, settings.voice_names)
    router = APIRouter()
    # The gate asks for keys, long before any route; this says so in the description.
    keyed = [Depends(HTTPBearer(auto_error=False, description="a key, if the server has any"))]
    for part in (
        models_router(assistant.services, int(time.time())),
        voices_router(assistant),
        roles_router(assistant),
        speech_router(assistant, settings, requests, names),
        transcriptions_router(assistant, settings, requests),
        chat_router(assistant, settings, requests, names),
    ):
        router.include_router(part, dependencies=keyed)
    router.include_router(tts_router(assistant, settings, sessions, names))
    router.include_router(docs_router())
    return router
