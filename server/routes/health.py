"""Is it alive, can it answer."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from server.admission.drain import Drain
from step_audio.dialog.assistant import Assistant


def health_router(assistant: Assistant, drain: Drain) -> APIRouter:
    """Return /healthz (the process runs) and /readyz (it can answer, and is not leaving)."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process runs.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/readyz",
        responses={503: {"description": "The model is loading or gone."}},
        summary="Whether the model can answer.",
    )
    async def readyz() -> JSONResponse:
        if drain.begun:
            return JSONResponse({"status": "draining"}, 503)
        ready = await assistant.ready()
        return JSONResponse({"status": "ready" if ready else "loading"}, 200 if ready else 503)

    return router
