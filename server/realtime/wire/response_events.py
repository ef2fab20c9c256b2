"""Domain values -> wire objects and events, in the documented order. Pure: no socket, no await.

`event_id` is added where events leave the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from server.realtime.wire.audio import AudioEncoder
from server.realtime.wire.items import wire_item
from server.realtime.wire.session_config import SessionConfig
from step_audio.core.errors import StepAudioError
from step_audio.core.types import AudioChunk, Reasoning, TextDelta, ToolCall, ToolResult, Transcript
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.prompting.conversation import Called, call_item_id
from step_audio.dialog.recognition.speech import rest_of
from step_audio.dialog.response.pipeline import AnswerEvent

Event = dict[str, Any]

BUILTIN_CALLS: Final = "response.builtin_tool_call"
REASONING: Final = "response.reasoning_text"
"""In the words of OpenAI's Responses API; sent only to sessions that include it."""
Status = Literal["completed", "cancelled", "incomplete", "failed"]


def error_event(error: Exception, *, event_id: str | None) -> Event:
    """Return the event for something a client did wrong, or for our own failure."""
    ours = not isinstance(error, StepAudioError)
    return {
        "type": "error",
        "error": {
            "type": "server_error" if ours else "invalid_request_error",
            "code": "internal_error" if ours else getattr(error, "code", None),
            "message": "internal error; see the server's log" if ours else str(error),
            "param": getattr(error, "param", None),
            "event_id": event_id,
        },
    }


_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


def transcript_delta(item_id: str, words: str) -> Event:
    """Return the event for words that were heard and will not change."""
    return {
        "type": f"{_TRANSCRIPTION}.delta",
        "item_id": item_id,
        "content_index": 0,
        "delta": words,
    }


def transcript_events(
    item_id: str, heard: Transcript, seconds: float, shown: str = ""
) -> list[Event]:
    """Return the events that tell a client what was heard in its spoken item.

    Args:
        seconds: its length.
        shown: words of it that were told already.
    """
    rest = rest_of(heard.text, shown)
    delta: list[Event] = [transcript_delta(item_id, rest)] if rest else []
    completed: Event = {
        "type": f"{_TRANSCRIPTION}.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": heard.text,
        "usage": {"type": "duration", "seconds": seconds},
    }
    if heard.language:
        completed["language"] = heard.language
    return [*delta, completed]


def failed_transcript(item_id: str, error: StepAudioError) -> Event:
    """Return the event for a spoken item that could not be heard; clients refuse nulls in it."""
    what = {"type": "server_error", "code": error.code, "message": str(error), "param": ""}
    kind = "conversation.item.input_audio_transcription.failed"
    return {"type": kind, "item_id": item_id, "content_index": 0, "error": what}


def refusals(refused: Iterable[str], config: SessionConfig) -> list[dict[str, Any]]:
    """Return what of a response's settings a chat server refused and was asked without."""
    wishes = {
        "tools": ("tools", True),
        "tool_choice": ("tool_choice", config.tool_choice != "auto"),
        "temperature": ("temperature", config.temperature is not None),
        "max_tokens": ("max_output_tokens", config.max_output_tokens is not None),
    }
    return [
        {
            "code": "refused_by_chat_server",
            "message": f"the chat server refuses {name!r}: it answers without",
            "param": f"response.{param}",
        }
        for name, (param, wished) in wishes.items()
        if wished and name in set(refused)
    ]


def _usage(usage: Usage) -> dict[str, Any]:
    """Return the counts as the protocol has them; JavaScript clients refuse null counts."""
    read, written = usage.input_text + usage.input_audio, usage.output_text + usage.output_audio
    return {
        "total_tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "input_token_details": {
            "text_tokens": usage.input_text,
            "audio_tokens": usage.input_audio,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {
            "text_tokens": usage.output_text,
            "audio_tokens": usage.output_audio,
        },
    }


@dataclass(slots=True)
class ResponseTranslator:
    """One response: answer events in, wire events out, each opened part closed exactly once.

    Attributes:
        response_id, answer_id: ids of the response and of its message item.
        config: what holds for this response.
        before: tells the item in front of an item id.
        question: the spoken item whose transcript the client wants, None for none.
        question_s: its length.
        usage: what the answer takes, counted while it runs.
        out_of_band: the response is not part of the conversation.
        warnings: what the client asked for and does not get.
        told: spoken items whose transcripts the client has; extended.
        shown_words: what was shown of spoken items while they were spoken, by item id.
    """

    response_id: str
    answer_id: str
    conversation_id: str
    config: SessionConfig
    before: Callable[[str], str | None]
    metadata: dict[str, Any] | None = None
    question: str | None = None
    question_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    out_of_band: bool = False
    warnings: tuple[dict[str, Any], ...] = ()
    told: set[str] = field(default_factory=set)
    shown_words: dict[str, str] = field(default_factory=dict)
    finished: bool = False
    _output: list[dict[str, Any]] = field(default_factory=list)
    _text: str = ""
    _message_index: int | None = None
    _message_open: bool = False
    _out: AudioEncoder = field(init=False)
    _calls: dict[str, ToolCall] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        self._out = AudioEncoder(config.output_format, speed=config.pace, volume=config.loudness)

    @property
    def calls(self) -> bool:
        """Whether a tool of the client was called: what comes now is the end."""
        return any(item["type"] == "function_call" for item in self._output)

    @property
    def sound_ms(self) -> int:
        """Sound that was handed out so far."""
        return self._out.sent_ms

    def created(self) -> list[Event]:
        """Return the events that open the response."""
        out = {"type": "response.created", "response": self._response("in_progress", None)}
        return [{**out, "warnings": list(self.warnings)} if self.warnings else out]

    def on(self, event: AnswerEvent) -> list[Event]:
        """Return the wire events of one answer event.

        The server's own tools are shown, in the words of StepFun, to clients whose session
        includes `response.builtin_tool_call`; the others have no such event.
        """
        if self.finished:  # late: the response is over for the client
            return []
        match event:
            case Transcript() | Reasoning():
                return self._aside(event)
            case TextDelta():
                self._text += event.text
                kind = "output_audio_transcript" if self._aloud else "output_text"
                return [*self._open(), self._delta(kind, event.text)]
            case AudioChunk():
                return [*self._open(), *self._sound(self._out.push(event.pcm, event.rate_hz))]
            case ToolCall() if event.name in self.config.client_tools:
                return [*self._close("completed", rest=True), *self._call(event)]
            case _:
                return self._builtin(event)

    def finish(
        self, status: Status, *, reason: str | None = None, error: StepAudioError | None = None
    ) -> list[Event]:
        """Return the events that close the response, nothing when it is closed already."""
        if self.finished:
            return []
        self.finished = True
        details: dict[str, Any] | None = None
        if error is not None:
            what = {"type": "server_error", "code": error.code, "message": str(error)}
            details = {"type": "failed", "error": what}
        elif reason is not None:
            details = {"type": status, "reason": reason}
        closing = self._close(
            "completed" if status == "completed" else "incomplete",
            rest=status in ("completed", "incomplete"),
        )
        done = {"type": "response.done", "response": self._response(status, details, over=True)}
        told = refusals(self.usage.refused, self.config)
        return [*closing, {**done, "warnings": told} if told else done]

    @property
    def _aloud(self) -> bool:
        return self.config.modality == "audio"

    def _response(
        self, status: str, details: dict[str, Any] | None, *, over: bool = False
    ) -> dict[str, Any]:
        config = self.config
        return {
            "id": self.response_id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": list(self._output),
            "output_modalities": [config.modality],
            "audio": {"output": {"format": config.output_format.wire(), "voice": config.voice}},
            "conversation_id": None if self.out_of_band else self.conversation_id,
            "metadata": self.metadata,
            "max_output_tokens": self.config.max_output_tokens or "inf",
            "usage": _usage(self.usage) if over else None,
        }

    def _transcript(self, event: Transcript) -> list[Event]:
        if self.question is None or self.question in self.told:
            return []
        self.told.add(self.question)
        shown = self.shown_words.pop(self.question, "")
        return transcript_events(self.question, event, self.question_s, shown)

    def _aside(self, event: Transcript | Reasoning) -> list[Event]:
        """Return the events of what is no part of the answer."""
        return self._transcript(event) if isinstance(event, Transcript) else self._reasoning(event)

    def _reasoning(self, event: Reasoning) -> list[Event]:
        """Show what the model thinks to clients whose session includes it."""
        if REASONING not in self.config.include:
            return []
        kind = {"type": f"{REASONING}.delta", "response_id": self.response_id}
        return [{**kind, "item_id": self.answer_id, "delta": event.text}]

    def _message(self, status: str) -> dict[str, Any]:
        kind, key = ("output_audio", "transcript") if self._aloud else ("output_text", "text")
        content = [] if status == "in_progress" else [{"type": kind, key: self._text}]
        return {
            "id": self.answer_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _where(self) -> dict[str, Any]:
        return {
            "response_id": self.response_id,
            "item_id": self.answer_id,
            "output_index": self._message_index,
            "content_index": 0,
        }

    def _delta(self, kind: str, delta: str) -> Event:
        return {"type": f"response.{kind}.delta", **self._where(), "delta": delta}

    def _open(self) -> list[Event]:
        """Announce the message before its first delta."""
        if self._message_index is not None:
            return []
        self._message_index, self._message_open = len(self._output), True
        item = self._message("in_progress")
        part = {"type": "audio", "transcript": ""} if self._aloud else {"type": "text", "text": ""}
        return [
            *self._item_added(item, self._message_index),
            {"type": "response.content_part.added", **self._where(), "part": part},
        ]

    def _item_added(self, item: dict[str, Any], index: int) -> list[Event]:
        place = {"response_id": self.response_id, "output_index": index}
        previous = self.before(item["id"])
        added = {"type": "conversation.item.added", "item": item, "previous_item_id": previous}
        own: Event = {"type": "response.output_item.added", **place, "item": item}
        return [own] if self.out_of_band else [own, added]

    def _item_done(self, item: dict[str, Any], index: int) -> list[Event]:
        place = {"response_id": self.response_id, "output_index": index}
        previous = self.before(item["id"])
        done = {"type": "conversation.item.done", "item": item, "previous_item_id": previous}
        own: Event = {"type": "response.output_item.done", **place, "item": item}
        return [own] if self.out_of_band else [done, own]

    def _close(self, status: str, *, rest: bool) -> list[Event]:
        """Finish the message if one is open; `rest`: with the sound that is still inside."""
        if not self._message_open or self._message_index is None:
            return []
        self._message_open = False
        out: list[Event] = []
        if rest:
            out += self._sound(self._out.flush())
        where = self._where()
        if self._aloud:
            out += [
                {"type": "response.output_audio.done", **where},
                {
                    "type": "response.output_audio_transcript.done",
                    **where,
                    "transcript": self._text,
                },
            ]
            part = {"type": "audio", "transcript": self._text}
        else:
            out.append({"type": "response.output_text.done", **where, "text": self._text})
            part = {"type": "text", "text": self._text}
        item = self._message(status)
        self._output.append(item)
        out.append({"type": "response.content_part.done", **where, "part": part})
        return out + self._item_done(item, self._message_index)

    def _sound(self, pieces: Iterable[str]) -> list[Event]:
        return [self._delta("output_audio", piece) for piece in pieces]

    def _builtin(self, event: ToolCall | ToolResult) -> list[Event]:
        if BUILTIN_CALLS not in self.config.include:
            return []
        if isinstance(event, ToolCall):
            self._calls[event.call_id] = event
        call = self._calls.get(event.call_id)
        if call is None:  # of an answer before this one
            return []
        state, more = "in_progress", {}
        if isinstance(event, ToolResult):
            state, more = "done", {"output": event.output}
        shown = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        kind = f"{BUILTIN_CALLS}.{state}"
        return [{"type": kind, "response_id": self.response_id, **shown, **more}]

    def _call(self, call: ToolCall) -> list[Event]:
        index, item_id = len(self._output), call_item_id(call.call_id)
        item = wire_item(Called(item_id, call))
        where = {
            "response_id": self.response_id,
            "item_id": item_id,
            "output_index": index,
            "call_id": call.call_id,
        }
        kind = "response.function_call_arguments"
        done = {"arguments": call.arguments, "name": call.name}
        self._output.append(item)
        return [
            *self._item_added({**item, "status": "in_progress", "arguments": ""}, index),
            {"type": f"{kind}.delta", **where, "delta": call.arguments},
            {"type": f"{kind}.done", **where, **done},
            *self._item_done(item, index),
        ]
