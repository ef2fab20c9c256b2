"""StepFun's dialect: the beta shape without a mark, tools also nested, a few keys of its own."""

from __future__ import annotations

from typing import Any

from server.realtime.wire.versions.beta import Beta
from server.realtime.wire.versions.version import Event


class Stepfun(Beta):
    """StepFun's console and command line on the wire, GA inside."""

    def inward(self, event: Event) -> Event:
        """Return a client's event as GA."""
        for name in ("session", "response"):
            settings = event.get(name)
            if isinstance(settings, dict):
                event = {**event, name: _plain(settings)}
        return super().inward(event)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    out = dict(settings)
    if isinstance(tools := out.get("tools"), list):
        out["tools"] = [_flat_tool(tool) for tool in tools]
    if "speed_ratio" in out:
        out["speed"] = out.pop("speed_ratio")
    return out


def _flat_tool(tool: Any) -> Any:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool["function"]}
    return tool
