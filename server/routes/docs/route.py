"""GET /docs and its two files. Nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse

_HERE: Final = Path(__file__).parent


def docs_router() -> APIRouter:
    """Return the routes of the page; they are no part of what it describes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def page() -> FileResponse:
        return FileResponse(_HERE / "page.html", media_type="text/html")

    @router.get("/docs/page.js")
    async def script() -> FileResponse:
        return FileResponse(_HERE / "page.js", media_type="text/javascript")

    @router.get("/docs/page.css")
    async def style() -> FileResponse:
        return FileResponse(_HERE / "page.css", media_type="text/css")

    return router
