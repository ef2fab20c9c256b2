"""What a client of the speech socket may send."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from server.http.body import Body
from server.http.errors import RequestError
from server.text_options import TextOptionFields
from server.voice_names import VoiceId
from step_audio.core.encoding import usual_name

MAX_DELTA_CHARS = 10_000


class CreateData(TextOptionFields):
    """How the speech is wanted."""

    session_id: str | None = None
    voice_id: str | VoiceId | None = None
    response_format: Annotated[
        Literal["wav", "mp3", "flac", "opus", "pcm"], BeforeValidator(usual_name)
    ] = "mp3"
    sample_rate: Literal[8000, 16000, 24000, 48000] = 24000
    volume_ratio: Annotated[float, Field(ge=0.1, le=2.0)] = 1.0
    speed_ratio: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    instruction: Annotated[str, Field(max_length=4096)] | None = None


class Create(Body):
    """Begins one text."""

    type: Literal["tts.create"]
    data: CreateData


class TextData(Body):
    """More of the text."""

    session_id: str | None = None
    text: Annotated[str, Field(max_length=MAX_DELTA_CHARS)]


class TextAppend(Body):
    """A piece of text, cut anywhere."""

    type: Literal["tts.text.delta"]
    data: TextData


class Flush(Body):
    """Read what there is, as if a sentence ended here."""

    type: Literal["tts.text.flush"]


class Done(Body):
    """The text is complete."""

    type: Literal["tts.text.done"]


ClientEvent = Annotated[Create | TextAppend | Flush | Done, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Create | TextAppend | Flush | Done] = TypeAdapter(ClientEvent)


def parse(text: str) -> Create | TextAppend | Flush | Done:
    """Return the event of a message. Raises RequestError: not JSON, or not of these shapes."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise RequestError(str(first["msg"]), code="invalid_event", param=param) from None
