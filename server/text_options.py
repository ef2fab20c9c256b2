"""What a client says of how its text is read; a field left out is the profile's."""

from __future__ import annotations

from dataclasses import fields, replace

from server.http.body import Body
from step_audio.core.types import AddressReading, TextOptions, UnreadableReading


class TextOptionFields(Body):
    """The fields of `TextOptions`, in the body of a request or an event."""

    style_tags: bool | None = None
    """False: "(happy)" and the like are words in brackets."""
    markdown: bool | None = None
    """False: the marks of Markdown, HTML and TeX are signs like others."""
    numbers: bool | None = None
    """False: figures, dates, units and signs stay as they are written."""
    addresses: AddressReading | None = None
    """Of the web and of mail: in full, their host alone, or left out."""
    unreadable: UnreadableReading | None = None
    """Whether a sentence in letters that the model was not taught refuses the text, or is left
    out, which a warning then says."""

    def text_options(self, default: TextOptions) -> TextOptions:
        """Return what was asked for, and of the rest the default."""
        asked = {f.name: getattr(self, f.name) for f in fields(TextOptions)}
        return replace(default, **{name: v for name, v in asked.items() if v is not None})
