"""Updates of a session: null is the default, what is absent stays, all of it or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.wire import client_events as wire
from server.realtime.wire.versions.settings_keys import nested, own_place
from tests.fakes import ScriptedEngine, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Event, Talk, talking
from tokenizer.vad import EnergyTurnDetector

TOOL = {"type": "function", "name": "open_door", "parameters": {"type": "object"}}


@contextmanager
def session(connect: Connect, **options: Any) -> Iterator[Talk]:
    with talking(connect(detector=EnergyTurnDetector(), **options)) as talk:
        yield talk


def update(talk: Talk, **settings: Any) -> Event:
    """Return the session as it is after an update of a GA client."""
    talk.send("session.update", session={"type": "realtime", **settings})
    event = talk.next()
    assert event["type"] == "session.updated", event
    found: Event = event["session"]
    return found


NULLS: list[dict[str, Any]] = [
    {"audio": None},
    {"audio": {"input": None, "output": None}},
    {"audio": {"input": {"format": None, "transcription": None, "noise_reduction": None}}},
    {"audio": {"input": {"format": {"type": None, "rate": None}}}},
    {"audio": {"input": {"format": {"type": "audio/pcm", "rate": None}}}},
    {"audio": {"output": {"format": None, "voice": None, "speed": None, "volume": None}}},
    {"audio": {"input": {"transcription": {"model": None, "language": None, "prompt": None}}}},
    {"output_modalities": None, "instructions": None, "style": None, "include": None},
    {"style": {"role": None, "emotion": None, "mode": None, "speed": None}},
    {"tools": None, "tool_choice": None, "max_output_tokens": None, "temperature": None},
    {"truncation": None, "tracing": None, "prompt": None, "model": None},
    {"modalities": None, "voice": None, "input_audio_format": None, "output_audio_format": None},
    {"input_audio_transcription": None, "max_response_output_tokens": None, "speed": None},
]


@pytest.mark.parametrize("settings", NULLS)
def test_null_is_the_default(connect: Connect, settings: dict[str, Any]) -> None:
    with session(connect) as talk:
        before = update(talk)
        after = update(talk, **settings)
        given = settings.get("audio") or {}
        if (given.get("input") or {}).get("transcription"):
            after["audio"]["input"]["transcription"] = None
        assert after == before


@pytest.mark.parametrize(
    "key",
    [
        *("type", "threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"),
        *("eagerness", "create_response", "interrupt_response"),
    ],
)
def test_a_null_in_a_turn_detection_is_the_default(connect: Connect, key: str) -> None:
    with session(connect) as talk:
        before = update(talk)["audio"]["input"]["turn_detection"]
        for other in ({}, {"type": "server_vad"}):
            detection = {**other, key: None}
            after = update(talk, audio={"input": {"turn_detection": detection}})
            assert after["audio"]["input"]["turn_detection"] == before


def test_a_null_in_a_tool_is_the_default(connect: Connect) -> None:
    with session(connect) as talk:
        tool = {"type": None, "name": "go", "description": None, "parameters": None, "strict": None}
        (shown,) = update(talk, tools=[tool])["tools"]
        assert shown == {"type": "function", "name": "go", "description": "", "parameters": {}}
        talk.send("session.update", session=None)
        assert talk.next()["session"]["tools"] == [shown]


def test_nulls_of_items_and_responses_are_the_default(connect: Connect) -> None:
    with session(connect, engine=ScriptedEngine([text_ids("Noon.")])) as talk:
        part = {"type": "input_text", "text": "time?", "audio": None, "transcript": None}
        item = {"id": None, "type": "message", "role": "user", "status": None, "content": [part]}
        talk.send("conversation.item.create", item=item, previous_item_id=None, event_id=None)
        assert talk.until("conversation.item.done")
        response = {"output_modalities": ["text"], "conversation": None, "input": None}
        nulls = dict.fromkeys(
            ("instructions", "audio", "tools", "tool_choice", "metadata", "style")
        )
        talk.send("response.create", response={**response, **nulls})
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
        talk.send("response.create", response=None)
        assert talk.until("response.done")


MIXED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"voice": "slt", "audio": {"input": {"turn_detection": None}}},
        {"audio.output.voice": "slt", "audio.input.turn_detection": None},
    ),
    (
        {"input_audio_format": "g711_ulaw", "audio": {"output": {"format": "g711_alaw"}}},
        {"audio.input.format.type": "audio/pcmu", "audio.output.format.type": "audio/pcma"},
    ),
    (
        {
            "turn_detection": {"threshold": 0.7},
            "audio": {"input": {"turn_detection": {"silence_duration_ms": 700}}},
        },
        {
            "audio.input.turn_detection.threshold": 0.7,
            "audio.input.turn_detection.silence_duration_ms": 700,
        },
    ),
    ({"modalities": ["text"], "max_output_tokens": 9}, {"output_modalities": ["text"]}),
    ({"max_response_output_tokens": 9, "output_modalities": ["text"]}, {"max_output_tokens": 9}),
    ({"speed_ratio": 1.5, "audio": {"output": {"volume": 0.5}}}, {"audio.output.speed": 1.5}),
    (
        {"voice": "slt", "audio": {"output": {"voice": None, "speed": 1.5}}},
        {"audio.output.voice": "slt", "audio.output.speed": 1.5},
    ),
    (
        {"input_audio_transcription": {"language": "en"}, "audio": {"input": {"format": None}}},
        {"audio.input.transcription.language": "en"},
    ),
    ({"output_modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
    ({"turn_detection": {"type": "none"}}, {"audio.input.turn_detection": None}),
    (
        {"tools": [{"type": "function", "function": {"name": "go"}}]},
        {"tools.0.name": "go"},
    ),
]


MEANT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"turn_detection": {"silence_duration_ms": 500.0, "threshold": "0.6"}},
        {
            "audio.input.turn_detection.silence_duration_ms": 500,
            "audio.input.turn_detection.threshold": 0.6,
        },
    ),
    (
        {"turn_detection": {"type": "SERVER_VAD", "create_response": "false"}},
        {"audio.input.turn_detection.create_response": False},
    ),
    ({"speed": "1.5", "volume": 1}, {"audio.output.speed": 1.5}),
    ({"max_output_tokens": 100.0}, {"max_output_tokens": 100}),
    ({"max_response_output_tokens": "100"}, {"max_output_tokens": 100}),
    ({"max_output_tokens": "INF"}, {"max_output_tokens": "inf"}),
    ({"temperature": "0.8"}, {"temperature": 0.8}),
    ({"input_audio_format": "PCM16"}, {"audio.input.format.type": "audio/pcm"}),
    ({"input_audio_format": "g711-ulaw"}, {"audio.input.format.type": "audio/pcmu"}),
    (
        {"audio": {"input": {"format": {"type": "audio/PCMU", "rate": 8000.0}}}},
        {"audio.input.format.type": "audio/pcmu"},
    ),
    ({"audio": {"output": {"format": "pcma"}}}, {"audio.output.format.type": "audio/pcma"}),
    ({"output_audio_format": "mulaw"}, {"audio.output.format.type": "audio/pcmu"}),
    ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
    ({"tool_choice": {"type": "required"}}, {"tool_choice": "required"}),
    ({"tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
    ({"tools": [None, {"type": "function", "name": "go"}]}, {"tools.0.name": "go"}),
    ({"voice": "", "audio": {"output": {"voice": ""}}}, {"audio.output.speed": 1.0}),
    ({"modalities": ["TEXT", None]}, {"output_modalities": ["text"]}),
]


@pytest.mark.parametrize(("settings", "shown"), MEANT)
def test_what_can_only_mean_one_thing_is_taken_for_it(
    connect: Connect, settings: dict[str, Any], shown: dict[str, Any]
) -> None:
    with session(connect) as talk:
        found = update(talk, **settings)
    for place, value in shown.items():
        assert at(found, place) == value


def at(found: Any, place: str) -> Any:
    for part in place.split("."):
        found = found[int(part) if part.isdigit() else part]
    return found


@pytest.mark.parametrize(("settings", "shown"), MIXED)
@pytest.mark.parametrize("headers", [{}, {"openai-beta": "realtime=v1"}])
def test_keys_of_every_version_are_honoured_together(
    connect: Connect, settings: dict[str, Any], shown: dict[str, Any], headers: dict[str, str]
) -> None:
    client = connect(detector=EnergyTurnDetector())
    with talking(client, headers=headers) as talk:
        talk.send("session.update", session={"type": "realtime", **settings})
        session = talk.next()["session"]
    if headers:
        session = nested(session)
    for place, value in shown.items():
        assert at(session, place) == value


def test_telephone_sound_in_beta_keys_is_heard_as_such_in_a_ga_session(connect: Connect) -> None:
    with session(connect) as talk:
        update(talk, input_audio_format="g711_ulaw", turn_detection=None)
        talk.send("input_audio_buffer.append", audio="/w" * 800)  # 1200 samples at 8 kHz
        talk.send("input_audio_buffer.commit")
        assert talk.next()["type"] == "input_audio_buffer.committed"  # 150 ms; as PCM16 25


def test_a_partial_turn_detection_keeps_what_it_does_not_name(connect: Connect) -> None:
    with session(connect) as talk:

        def detection(**given: Any) -> Event:
            found: Event = update(talk, turn_detection=given)["audio"]["input"]["turn_detection"]
            return found

        detection(threshold=0.8, create_response=False, silence_duration_ms=700)
        kept = detection(interrupt_response=False)
        assert (kept["threshold"], kept["create_response"]) == (0.8, False)
        assert (kept["silence_duration_ms"], kept["interrupt_response"]) == (700, False)
        kept = detection(type="server_vad", prefix_padding_ms=100)
        assert (kept["threshold"], kept["silence_duration_ms"]) == (0.8, 700)
        kept = detection(eagerness="low")
        assert kept["type"] == "semantic_vad"
        assert (kept["create_response"], kept["interrupt_response"]) == (False, False)
        assert detection(create_response=True)["eagerness"] == "low"
        back = detection(type="server_vad", create_response=None)
        assert (back["silence_duration_ms"], back["create_response"]) == (500, True)
        update(talk, turn_detection=None)
        assert detection(threshold=0.6)["threshold"] == 0.6


def test_updates_merge_within_a_transcription_and_a_format(connect: Connect) -> None:
    with session(connect) as talk:
        update(talk, audio={"input": {"transcription": {"model": "whisper-1"}}})
        heard = update(talk, input_audio_transcription={"language": "en"})["audio"]["input"]
        assert heard["transcription"] == {"model": "whisper-1", "language": "en"}
        update(talk, audio={"input": {"format": {"type": "audio/pcmu"}}})
        kept = update(talk, audio={"input": {"format": {"rate": 8000}}})["audio"]["input"]
        assert kept["format"] == {"type": "audio/pcmu"}


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"audio": {"input": {"format": "mp3"}}}, "session.audio.input.format.type"),
        ({"voice": "nobody"}, "session.voice"),
        ({"audio": {"output": {"voice": "nobody"}}}, "session.audio.output.voice"),
        ({"speed_ratio": 9.0}, "session.speed_ratio"),
        ({"turn_detection": {"threshold": 7}}, "session.turn_detection.threshold"),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 7}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"turn_detection": {"type": "server_vad", "eagerness": "low"}},
            "session.turn_detection.eagerness",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": 5}}]},
            "session.tools.0.function.name",
        ),
        ({"tools": [{"type": "function"}]}, "session.tools.0.name"),
        ({"modalities": ["smell"]}, "session.modalities.0"),
        ({"max_response_output_tokens": 0}, "session.max_response_output_tokens"),
        ({"tool_choice": {"type": "function", "name": None}}, "session.tool_choice.name"),
        ({"tool_choice": "sometimes"}, "session.tool_choice"),
        ({"voice": {"name": "slt"}}, "session.voice.id"),
        ({"turn_detection": {"threshold": "high"}}, "session.turn_detection.threshold"),
        ({"max_output_tokens": "many"}, "session.max_output_tokens"),
        ({"input_audio_format": "pcm_16000"}, "session.input_audio_format"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_of_its_update_is_applied(
    connect: Connect, settings: dict[str, Any], param: str
) -> None:
    with session(connect) as talk:
        before = update(talk)
        whole = {"type": "realtime", "instructions": "x", "volume": 0.5, **settings}
        assert talk.error("session.update", session=whole)["param"] == param
        assert update(talk) == before


def test_a_tool_that_is_not_run_here_is_left_out_and_said(connect: Connect) -> None:
    mcp = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example"}
    with session(connect, engine=ScriptedEngine([text_ids("Noon.")])) as talk:
        tools = [mcp, TOOL, {"type": "web_search"}]
        settings = {"type": "realtime", "instructions": "be brief", "tools": tools}
        talk.send("session.update", session=settings)
        event = talk.next()
        assert [tool["name"] for tool in event["session"]["tools"]] == ["open_door"]
        assert event["session"]["instructions"] == "be brief"
        said = [(warning["code"], warning["param"]) for warning in event["warnings"]]
        assert said == [
            ("unsupported_tool", "session.tools.0"),
            ("unsupported_tool", "session.tools.2"),
        ]
        assert "shop" in event["warnings"][0]["message"]
        talk.send("session.update", session={"type": "realtime"})
        assert "warnings" not in talk.next()
        choice = {"type": "mcp", "server_label": "shop"}
        response = {"tools": [mcp], "tool_choice": choice, "output_modalities": ["text"]}
        talk.send("response.create", response=response)
        created = talk.until("response.created")[-1]
        assert [warning["param"] for warning in created["warnings"]] == [
            "response.tools.0",
            "response.tool_choice",
        ]
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_keys_of_the_stateless_dialect_are_honoured_or_named(connect: Connect) -> None:
    engine = ScriptedEngine([text_ids("Noon is near.")], hold=2)
    with session(connect, engine=engine) as talk:
        update(talk, output_modalities=["text"])
        talk.send("response.create")
        talk.until("response.output_text.delta")
        wrong = talk.error("response.create", response={"history": []})
        assert wrong["param"] == "response.history"
        engine.hold = None
        talk.send("response.create", response={"interrupt_current_response": True})
        assert talk.until("response.done")[-1]["response"]["status"] == "cancelled"
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


KEYS = st.sampled_from(
    [
        *("voice", "speed", "modalities", "turn_detection", "input_audio_format", "audio", "input"),
        *("output", "format", "type", "tools", "function", "threshold", "transcription"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(settings=st.dictionaries(KEYS, JSON))
def test_any_settings_have_a_form_in_ga_and_their_own_places(settings: dict[str, Any]) -> None:
    once = nested(settings)
    assert nested(once) == once
    event = {"type": "session.update", "session": settings}
    for place in ("audio.input.format.type", "audio.output.voice", "tools.0.name", "instructions"):
        assert (own_place(event, f"session.{place}") or "").startswith("session.")
    assert own_place(event, "audio") == "audio"
    assert wire.EVENTS["session.update"]


def test_a_turn_detection_that_nobody_carries_out_is_said(connect: Connect) -> None:
    with talking(connect()) as talk:
        talk.send("session.update", session={"type": "realtime", "turn_detection": {}})
        event = talk.next()
        assert event["session"]["audio"]["input"]["turn_detection"] is None
        assert [one["param"] for one in event["warnings"]] == ["session.turn_detection"]
