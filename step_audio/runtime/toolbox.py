"""The tools of a profile."""

from __future__ import annotations

from step_audio.core.errors import ProfileError, ToolError
from step_audio.core.ports import ToolBox
from step_audio.core.profile import Tools


def open_tools(settings: Tools) -> ToolBox:
    """Return the tools of a profile: the built-in ones and those of MCP servers.

    Raises: ProfileError: a time zone that nobody knows.
    """
    from step_audio.tools.boxes import ToolBoxes
    from step_audio.tools.mcp import McpAddress, McpTools

    servers = [
        McpTools(
            McpAddress(
                name,
                server.url,
                server.token.get_secret_value() if server.token else None,
                None if server.tools is None else frozenset(server.tools),
                server.timeout_s,
            )
        )
        for name, server in settings.mcp.items()
    ]
    return ToolBoxes([_built_in(settings), *servers], timeout_s=settings.timeout_s)


def _built_in(settings: Tools) -> ToolBox:
    """Return the built-in tools; those of nano are imported for nano alone."""
    from step_audio.tools.clock import WallClock, zone_of
    from step_audio.tools.weather import HttpWeather

    weather = HttpWeather(**settings.weather.model_dump()) if settings.weather else None
    try:
        home = zone_of(settings.timezone) if settings.timezone is not None else None
    except ToolError as error:
        raise ProfileError(f"tools.timezone: {error}") from None
    if settings.kind == "general":
        from step_audio.tools.general import GeneralTools

        return GeneralTools(WallClock(), home, weather)
    from step_audio.nano.tools.toolbox import FakeTools, NanoTools

    if settings.kind == "fake":
        return FakeTools(settings.seed)
    return NanoTools(None, WallClock(), home, weather)
