"""Tools that the assistant may call, and their seeded fakes."""

from step_audio.tools.arguments import parse_arguments
from step_audio.tools.nano import FakeTools, NanoTools, WallClock
from step_audio.tools.specs import SPECS

__all__ = ["SPECS", "FakeTools", "NanoTools", "WallClock", "parse_arguments"]
