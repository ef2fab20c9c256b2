"""GET /v1/roles: the role cards there are, and which of them this model can play."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from step_audio.dialog.assistant import Assistant
from step_audio.dialog.role_play.cards import RoleCard


def roles_router(assistant: Assistant) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["roles"])
    reach = assistant.style_reach

    def shown(card: RoleCard) -> dict[str, Any]:
        role = assistant.role(card.name)
        facts = card.model_dump(include={"name", "title", "language", "manner", "voice", "opening"})
        return {
            "id": card.name,
            **facts,
            "applied": role.applied(reach),
            "not_applied": role.not_applied(reach),
        }

    @router.get("/v1/roles", summary="Which role cards there are; session.style.role takes one.")
    async def list_roles() -> dict[str, Any]:
        return {"object": "list", "data": [shown(c) for c in assistant.settings.roles.values()]}

    return router
