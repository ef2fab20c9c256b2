"""POST /v1/realtime/client_secrets: a key for one session, with the settings it begins with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from pydantic import Field

from server.admission.client_secrets import ClientSecrets
from server.http.body import Body
from server.http.errors import expects, responses
from server.realtime.wire.client_events import SessionPatch
from server.realtime.wire.session_config import first_config
from server.realtime.wire.session_update import merged
from server.voice_names import VoiceNames
from step_audio.dialog.assistant import Assistant

_KEY = Depends(HTTPBearer(auto_error=False, description="a key, if the server has any"))


class ExpiresAfter(Body):
    """How long a secret opens a session."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class ClientSecretRequest(Body):
    """What OpenAI's clients send."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: SessionPatch = SessionPatch()


def client_secrets_router(
    assistant: Assistant, names: VoiceNames, secrets: ClientSecrets
) -> APIRouter:
    """Return the route. A server of the operator's calls it with its key, a browser uses the
    answer's `value` as its own: once, for /v1/realtime only."""
    router = APIRouter(tags=["realtime"])

    @router.post(
        "/v1/realtime/client_secrets",
        dependencies=[Depends(expects("application/json")), _KEY],
        responses=responses(400, 415, 503),
        summary="A key for one realtime session, for a browser.",
    )
    async def make_secret(asked: ClientSecretRequest, request: Request) -> dict[str, Any]:
        config = await assistant.with_voices(
            lambda: merged(first_config(assistant), asked.session, assistant, names)
        )
        owner = getattr(request.state, "key", None)
        made = secrets.make(config, asked.expires_after.seconds, owner)
        return {"value": made.value, "expires_at": int(made.expires_s), "session": config.wire()}

    return router
