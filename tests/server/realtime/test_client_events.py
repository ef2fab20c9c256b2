import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.errors import RequestError
from server.realtime.wire.client_events import EVENTS, MAX_AUDIO_MS, ItemTruncate, decode, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["session", "audio", "item", "item_id", "content_index", "audio_end_ms", "response"]
)


@given(kind=st.sampled_from(sorted(EVENTS)), fields=st.dictionaries(FIELDS, JSON))
def test_any_json_is_either_an_event_or_refused(kind: str, fields: dict[str, object]) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(parse({**fields, "type": kind}), EVENTS[kind])


@given(st.text())
def test_any_text_is_either_an_object_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(decode(text), dict)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000])
def test_numbers_that_could_not_be_echoed_are_refused(number: str) -> None:
    with pytest.raises(RequestError):
        decode(f'{{"type": "response.create", "response": {{"metadata": {{"a": {number}}}}}}}')


def test_what_was_decoded_can_be_sent_back() -> None:
    assert json.loads(json.dumps(decode('{"a": [1, 1.5, null, "\\ud800"]}'))) == decode(
        '{"a": [1, 1.5, null, "\\ud800"]}'
    )


def test_a_time_beyond_all_speech_means_the_end() -> None:
    event = parse(
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 10**400,
        }
    )
    assert isinstance(event, ItemTruncate)
    assert event.audio_end_ms == MAX_AUDIO_MS
