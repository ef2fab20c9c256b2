"""Tools that the assistant may call."""

from step_audio.tools.arguments import parse_arguments

__all__ = ["parse_arguments"]
