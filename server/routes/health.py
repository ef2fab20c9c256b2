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
        responses={
            503: {"description": "A model does not answer (`missing`), or the server is leaving."}
        },
        summary="Whether the model can answer.",
    )
    async def readyz() -> JSONResponse:
        if drain.begun:
            return JSONResponse({"status": "draining"}, 503)
        missing = await assistant.missing()
        if missing:
            return JSONResponse({"status": "unavailable", "missing": missing}, 503)
        return JSONResponse({"status": "ready"})

    return router
