"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends

from server.admission.limits import ServerSettings, Slots
from server.http.errors import RequestError, expects, responses
from server.http.sse import with_error
from server.http.streamed import Streamed
from server.http.uploads import warning_headers
from server.routes.chat.answer import ChatReply, pieces, whole
from server.routes.chat.history import SpokenAnswers, conversation_of
from server.routes.chat.models import ChatRequest
from server.voice_names import VoiceNames
from step_audio.core.types import SamplingParams
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id


def chat_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots, names: VoiceNames
) -> APIRouter:
    """Return the route; a request holds one of `slots` until its last byte is sent."""
    router = APIRouter(tags=["chat"])
    spoken = SpokenAnswers()

    @router.post(
        "/v1/chat/completions",
        dependencies=[Depends(expects("application/json"))],
        response_class=Streamed,
        responses=responses(400, 413, 415, 503) | {200: _completion()},
        summary="Answer text or speech, in text or speech.",
    )
    async def completions(request: ChatRequest) -> Streamed:
        if request.unserved is not None:
            param, said = request.unserved
            raise RequestError(f"{param}: {said}", code="unsupported_value", param=param)
        wanted = request.audio.voice if request.audio else None
        voice = await names.resolve_field(wanted, "audio.voice")
        warnings: list[str] = []
        answer = _answer(assistant, request, voice, slots, spoken, warnings=warnings)
        return Streamed(
            with_error(answer) if request.stream else answer,
            "text/event-stream" if request.stream else "application/json",
            send_timeout_s=settings.send_timeout_s,
            late_headers=lambda: warning_headers(warnings),
        )

    return router


async def _answer(
    assistant: Assistant,
    request: ChatRequest,
    voice: str,
    slots: Slots,
    spoken: SpokenAnswers,
    *,
    warnings: list[str],
) -> AsyncGenerator[bytes, None]:
    sampling = _sampling(request, assistant.settings.sampling)
    reply = ChatReply(
        request,
        assistant.services.model_name,
        f"chatcmpl-{new_id()}",
        f"audio_{new_id()}",
        request.client_tools,
        max_tokens=sampling.max_tokens,
        warnings=warnings,
    )
    async with slots.wait():
        conversation, instructions = await conversation_of(request, assistant, spoken, warnings)
        events = assistant.answer(
            conversation,
            voice=voice,
            instructions=instructions,
            sampling=sampling,
            client_tools=request.tool_specs,
            choice=request.choice,
            aloud=request.aloud,
            usage=reply.usage,
        )
        if not request.stream:
            yield await whole(reply, events)
        else:
            async with aclosing(pieces(reply, events)) as chunks:
                async for chunk in chunks:
                    yield chunk
    if request.aloud:
        spoken.keep(reply.audio_id, reply.text)


def _sampling(request: ChatRequest, usual: SamplingParams) -> SamplingParams:
    """Return the deployment's way to draw ids with what the client wants otherwise."""
    limit = request.max_completion_tokens or request.max_tokens or usual.max_tokens
    return replace(
        usual,
        temperature=usual.temperature if request.temperature is None else request.temperature,
        top_p=usual.top_p if request.top_p is None else request.top_p,
        seed=usual.seed if request.seed is None else request.seed % 2**32,
        max_tokens=min(limit, usual.max_tokens),
    )


def _completion() -> dict[str, Any]:
    """Return what OpenAPI says about a completion."""
    whole_ = {"type": "object", "required": ["id", "object", "choices"]}
    return {
        "description": "The completion, or its chunks as events.",
        "content": {
            "application/json": {"schema": whole_},
            "text/event-stream": {},
        },
    }
