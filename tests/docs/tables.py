"""The tables of docs/ that follow from code or measurements: keys of a profile, events, figures.

Each stands in its page between `<!-- made: NAME -->` and `<!-- end -->`. Run: make docs-tables
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import PydanticUndefined

from server.realtime.wire.client_events import EVENTS
from server.realtime.wire.versions.beta import Beta
from step_audio.core import profile
from step_audio.core.measures import MEASURES
from step_audio.dialog.speakable.rules import READING
from step_audio.engine.one_card import CARD_EXAMPLES, example_card
from step_audio.eval.sets.catalogue import SETS
from tests.docs import figures
from tests.published.style_reach import (
    ANSWERING,
    PROFILES,
    TAGS,
    TALKING,
    WISHES,
    in_answer,
    in_session,
    in_text,
)

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
BLOCK: Final = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

SECTIONS: Final = (
    ("", profile.Profile),
    ("engine (kind: local)", profile.LocalEngineSection),
    ("engine, speech_engine (kind: vllm)", profile.VllmEngineSection),
    ("engine (kind: speech_endpoint)", profile.SpeechEndpointSection),
    ("engine (kind: scripted)", profile.ScriptedEngineSection),
    ("chat", profile.ChatSection),
    ("transcriber (kind: whisper)", profile.WhisperSection),
    ("transcriber (kind: endpoint)", profile.TranscriptionEndpointSection),
    ("transcriber (kind: own_model)", profile.OwnModelSection),
    ("tokenizer", profile.TokenizerSection),
    ("turn_detector", profile.TurnDetectorSection),
    ("turns", profile.TurnsSection),
    ("vocoder", profile.VocoderSection),
    ("dialog", profile.DialogSection),
    ("text_options", profile.TextOptionsSection),
    ("sampling, reading", profile.Sampling),
    ("tools", profile.Tools),
    ("tools.weather", profile.WeatherSection),
    ("tools.mcp.NAME", profile.McpSection),
    ("limits", profile.Limits),
    ("server", profile.ServerSection),
)


def keys() -> str:
    """Return one table for each section of a profile."""
    return "\n".join(
        f"### {name or 'Top level'}\n\n{inspect.getdoc(model)}\n\n"
        + _table(("key", "takes", "default", ""), _rows(model))
        for name, model in SECTIONS
    )


def _rows(model: type[profile.Section]) -> Iterator[tuple[str, ...]]:
    about = _said_of(model)
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        yield (
            f"`{name}`",
            _takes(schema["properties"][name]),
            _default(field.default),
            about.get(name, ""),
        )


def _said_of(model: type) -> dict[str, str]:
    """Return what stands below each field of a class."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    said = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            said[field.target.id] = " ".join(str(below.value.value).split())
    return said


def _takes(schema: dict[str, Any]) -> str:
    """Return in words what a value may be."""
    if "anyOf" in schema:
        kinds = [_takes(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema or "oneOf" in schema or "discriminator" in schema:
        return "section below"
    if schema.get("type") == "array":
        inside = schema.get("items") or schema.get("prefixItems", [{}])[0]
        return f"list of {_takes(inside)}"
    if schema.get("type") == "object":
        return "name: section below" if "$ref" in str(schema) else "name: text"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes, no"}
    kind = words.get(str(schema.get("type")), "value")
    special = {"path": "folder", "password": "secret"}.get(str(schema.get("format")))
    return " ".join([special or kind, *_range(schema)])


def _range(schema: dict[str, Any]) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{low:g} to {high:g}"
    elif low is not None:
        yield f"from {low:g}"
    elif "exclusiveMinimum" in schema:
        above = f"above {schema['exclusiveMinimum']:g}"
        yield above if high is None else f"{above}, to {high:g}"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if value is None:
        return "none"
    if isinstance(value, profile.Section):
        return "as below"
    if isinstance(value, Path | str):
        return f"`{value}`" if str(value) else "empty"
    return f"`{json.dumps(value, default=str)}`"


def client_events() -> str:
    """Return what clients may send; every dialect has the same names."""
    names = ((f"`{name}`", _fields(name)) for name in EVENTS)
    return _table(("event", "fields that are read"), names)


def _fields(name: str) -> str:
    return ", ".join(f"`{field}`" for field in EVENTS[name].model_fields) or "none"


def server_events() -> str:
    """Return what the server sends, and the name of it in the other dialects."""
    rows = []
    for name, when in SERVER_EVENTS.items():
        out = Beta().outward({"type": name, "error": {"param": None}})
        other = "not sent" if out is None else "same" if out["type"] == name else f"`{out['type']}`"
        rows.append((f"`{name}`", other, when))
    return _table(("GA", "beta, StepFun", "when"), rows)


SERVER_EVENTS: Final = {
    "session.created": "first of all",
    "session.resumable": "the client offered `step-audio-resume`: its token",
    "session.resumed": "the socket took up a session: how many messages of the client had arrived",
    "session.expiring": "the session is about to end (idle or at its longest), if `include` asks",
    "session.updated": "after `session.update`: the whole session as it now is",
    "session.restored": "answer to `session.restore`, where there is one",
    "error": "something in a client's event is wrong; the session goes on",
    "input_audio_buffer.speech_started": "turn detection hears somebody",
    "input_audio_buffer.speech_stopped": "... and that they are silent",
    "input_audio_buffer.timeout_triggered": "nobody spoke for `idle_timeout_ms` after an answer",
    "input_audio_buffer.committed": "a question is an item now",
    "input_audio_buffer.cleared": "what was appended is forgotten",
    "conversation.item.added": "an item enters the conversation",
    "conversation.item.done": "... and is complete",
    "conversation.item.retrieved": "answer to `conversation.item.retrieve`",
    "conversation.item.truncated": "answer to `conversation.item.truncate`",
    "conversation.item.deleted": "answer to `conversation.item.delete`",
    "conversation.item.input_audio_transcription.delta": "what the model heard, if asked for",
    "conversation.item.input_audio_transcription.completed": "... all of it",
    "conversation.item.input_audio_transcription.failed": "... or why there is none",
    "response.created": "an answer begins",
    "response.output_item.added": "a message or a call begins",
    "response.content_part.added": "its sound or text begins",
    "response.output_audio.delta": "sound, base64",
    "response.output_audio_transcript.delta": "the words of the sound",
    "response.output_text.delta": "text, when only text was asked for",
    "response.output_audio.done": "the sound is complete",
    "response.output_audio_transcript.done": "all words of it",
    "response.output_text.done": "all of the text",
    "response.content_part.done": "the part is closed",
    "response.function_call_arguments.delta": "a call of one of the client's tools, in one piece",
    "response.function_call_arguments.done": "... complete",
    "response.reasoning_text.delta": "what a chat model thinks, if `include` asks for it",
    "response.builtin_tool_call.in_progress": "a call of a server's tool, if `include` asks for it",
    "response.builtin_tool_call.done": "... and its result",
    "response.output_item.done": "the message or call is closed",
    "response.done": "status, output and usage",
}


def measures() -> str:
    """Return every measure as /metrics has it."""
    rows = (
        (
            f"`step_audio_{one.exported}`",
            one.kind,
            ", ".join(f"`{name}`" for name in one.labels),
            one.about,
        )
        for one in MEASURES.values()
    )
    return _table(("metric", "kind", "labels", ""), rows)


def rules() -> str:
    """Return the rules of the reading chain in their order, each with an example."""
    rows = (
        (
            str(number),
            f"{rule.name} ({rule.written})" if rule.written != "any" else rule.name,
            rule.does,
            *(_code(example) for example in rule.examples[0]),
            f"`{rule.part}`" if rule.part else "",
        )
        for number, rule in enumerate(READING, start=1)
    )
    return _table(("", "rule", "", "written", "after this rule", "switched off by"), rows)


def evaluation_sets() -> str:
    """Return the sets of `eval` and the names by which their columns are known."""
    rows = (
        (f"`{spec.name}`", spec.source, _columns(spec.columns), spec.unsure)
        for spec in SETS.values()
    )
    return _table(("set", "published", "columns", "not seen, so guessed"), rows)


def _columns(columns: Mapping[str, tuple[str, ...]]) -> str:
    told = [f"{what}: {' '.join(f'`{name}`' for name in names)}" for what, names in columns.items()]
    return "; ".join(told) or "files of text"


def session_styles() -> str:
    """Return what comes of each wish in `style`, profile by profile."""
    rows = (
        (f"`{name}: {wish}`", *(str(in_session(profile, name, wish)) for profile in TALKING))
        for name, wish in WISHES
    )
    return _table(("asked", *(f"`{name}`" for name in TALKING)), rows)


def style_tags() -> str:
    """Return what comes of each tag in a text, profile by profile."""
    rows = ((f"`({tag})`", *(str(in_text(profile, tag)) for profile in PROFILES)) for tag in TAGS)
    return _table(("in a text", *(f"`{name}`" for name in PROFILES)), rows)


def answer_tags() -> str:
    """Return what comes of each tag that the model which answers writes, profile by profile."""
    rows = (
        (f"`({tag})`", *(str(in_answer(profile, tag)) for profile in ANSWERING)) for tag in TAGS
    )
    return _table(("in an answer", *(f"`{name}`" for name in ANSWERING)), rows)


def cards() -> str:
    """Return which models go together on which card, by the sums of `step-audio plan`."""
    rows = []
    for example in sorted(CARD_EXAMPLES):
        card = example_card(example)
        assert card.fits
        chat = example.chat and f"{example.chat}, {example.chat_format}"
        shares = " + ".join(f"{engine.memory_share(card.gpu):g}" for engine in card.engines)
        sessions = f"{example.sessions} x {example.context}"
        ear = f"Whisper {example.ear}" if example.ear else "on the CPU"
        size = f"{example.memory_gb} GB"
        voice = f"TTS-3B, {example.voice_format}"
        rows.append(
            (size, chat or "elsewhere", voice, ear, sessions, f"{card.bytes / 1e9:.1f}", shares)
        )
    nobody = ("none", "elsewhere, or on the CPU", "nano, or a service", "Whisper base on the CPU")
    rows.append((*nobody, "", "", ""))
    sizes = ("sessions x ids", "GB", "memory shares")
    return _table(("card", "chat", "voice", "recogniser", *sizes), rows)


def _code(text: str) -> str:
    shown = text.replace("\n", "⏎").strip()
    return f"``{shown} ``" if "`" in shown else f"`{shown}`" if shown else "nothing"


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def peers() -> str:
    """Return what `make bench-peers` found, and where."""
    heads = ("", "first sound", "whole answer", "its sound", "CPU", "memory", "words right")
    rows = figures.peers_rows()
    return (_table(heads, rows) + "\n" if rows else "") + figures.made_at("peers")


def peers_plot() -> str:
    """Return the plot of the same."""
    about = "First sound, whole answer and CPU of one spoken question, four ways"
    return f"![{about}]({figures.PLOT.name})\n" if figures.PLOT.exists() else ""


def streams() -> str:
    """Return what `make test-gpu` measured, and where."""
    heads = ("device", "precision", "streams", "first chunk", "work over sound")
    rows = figures.streams_rows()
    return (_table(heads, rows) + "\n" if rows else "") + figures.made_at("streams")


def callers() -> str:
    """Return what `tests.bench.load` found of nano's callers, and where."""
    heads = (
        "callers",
        "who ask",
        "early answers",
        "after their last word, p50 / p95",
        "after the turn's end",
        "gaps",
        "work over sound, p95",
    )
    rows = figures.callers_rows()
    return (_table(heads, rows) + "\n" if rows else "") + figures.made_at("load.callers")


def timeline() -> str:
    """Return where the time of a turn goes, and the plot of it."""
    rows = figures.timeline_rows()
    name = figures.TIMELINE.name
    shown = f"![The stages of a turn, one after the other]({name})\n\n" if rows else ""
    table = _table(("stage", "median", "p95"), rows) + "\n" if rows else ""
    return shown + table + figures.made_at("timeline")


TABLES: Final[dict[str, Callable[[], str]]] = {
    "cards": cards,
    "keys": keys,
    "client-events": client_events,
    "server-events": server_events,
    "measures": measures,
    "rules": rules,
    "peers": peers,
    "peers-plot": peers_plot,
    "streams": streams,
    "callers": callers,
    "timeline": timeline,
    "eval-sets": evaluation_sets,
    "session-styles": session_styles,
    "style-tags": style_tags,
    "answer-tags": answer_tags,
}


def filled(text: str) -> str:
    """Return a page with its tables made anew."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[3]}", text)


def main() -> int:
    """Write the tables into the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
