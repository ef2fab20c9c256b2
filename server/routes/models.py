"""GET /v1/models: the one model that is loaded; whatever name a request asks for, it answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from server.http.errors import responses
from step_audio.core.ports import Services


def models_router(services: Services, created_s: int) -> APIRouter:
    """Return the routes; `created_s` is the Unix time that clients are shown."""
    router = APIRouter(tags=["models"])

    def model() -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": services.model_name,
            "object": "model",
            "created": created_s,
            "owned_by": "step-audio",
        }
        if at_work := services.at_work():  # an extension: which models hear, answer and speak
            told["at_work"] = dict(at_work)
        return told

    @router.get("/v1/models", summary="The one model that is loaded.")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model()]}

    @router.get("/v1/audio/models", summary="The same, as programs that read aloud ask for it.")
    async def list_audio_models() -> dict[str, Any]:
        shown = [{**model(), "name": services.model_name}]
        return {"object": "list", "data": shown, "models": shown}

    @router.get(
        "/v1/models/{model_id:path}",
        responses=responses(400),
        summary="The same by any name, since every name is answered by it.",
    )
    async def get_model(model_id: str) -> dict[str, Any]:
        return {**model(), "id": model_id or services.model_name}

    return router
