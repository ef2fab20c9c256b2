"""Texts from grammar and chat endpoints: written once, and the same again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.llm import ChatEndpoint, EndpointError, exchanges
from step_audio.data.pack import read_samples
from step_audio.data.samples import TASKS
from step_audio.data.tags import Tags
from step_audio.data.write import Exchange, write
from step_audio.nano.corpus.exchanges import grammar
from tests.data.sounds import ASKED, PLAIN
from tests.endpoint import serving


def test_rows_outlive_a_cut_off_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_rows(path) == [{"a": 1}, {"a": 2}]
    with RowWriter(path) as rows:
        rows.add({"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    path.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1"):
        read_rows(path)


def test_writing_again_adds_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, [ASKED, PLAIN]) == (12, 4)
    assert write(tmp_path, [ASKED, PLAIN]) == (0, 0)
    assert {s.task for s in read_samples(tmp_path)} == set(TASKS)


def test_the_grammar_gives_the_same_texts_for_the_same_seed() -> None:
    assert list(grammar(5, 1, styles=True)) == list(grammar(5, 1, styles=True))
    assert {e.tags.speed for e in grammar(60, 1, styles=True)} == {1, 2, 3, 4, 5}
    assert all(e.question for e in grammar(50, 2))


def test_texts_come_from_any_chat_endpoint() -> None:
    def reply(body: dict[str, object]) -> str:
        if "tides" in str(body["messages"]):
            return "I would rather not."
        row = {"question": "Why is it blue?", "answer": "Light scatters.", "tags": {"speed": 4}}
        return f"```json\n{json.dumps(row)}\n```"

    with serving(reply) as endpoint:
        chat = ChatEndpoint(endpoint.url, "writer", key="secret")
        found = list(exchanges(chat, ["the sky", "tides"], 2, workers=1))
    assert [e.answer for e in found] == ["Light scatters."] * 2
    assert found[0].tags == Tags(speed=4)
    assert found[0].source["model"] == "writer"
    assert found[0].source["topic"] == "the sky"
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert "the sky" in body["messages"][0]["content"]
    assert len(endpoint.requests) == 2 + 2 * 3  # a topic of no use is asked three times


def test_texts_that_an_endpoint_wrote_are_not_asked_for_again(tmp_path: Path) -> None:
    """A model draws another text each time: asked again, it would write twice as much."""
    numbers = count(1)

    def reply(body: dict[str, object]) -> str:
        number = next(numbers)
        return json.dumps({"question": f"Question {number}?", "answer": f"Answer {number}."})

    def texts(url: str, each: int, seed: int = 0) -> Iterator[Exchange]:
        chat = ChatEndpoint(url, "writer")
        store = tmp_path / "texts.jsonl"
        return exchanges(chat, ["sky", "sea"], each, seed=seed, workers=2, store=store)

    with serving(reply) as endpoint:
        first = list(islice(texts(endpoint.url, 3), 4))
        write(tmp_path, first, ["TQTA"])
        again = list(texts(endpoint.url, 3))
        assert again[:4] == first
        assert len(again) == len({e.question for e in again}) == 6
        assert len(endpoint.requests) == 6
        # Other tasks are written of the same texts.
        assert write(tmp_path, texts(endpoint.url, 3), ["TQTA", "TTS"]) == (2 + 6, 6)
        assert len(list(texts(endpoint.url, 3, seed=1))) == 6
        assert len(endpoint.requests) == 12


def test_an_endpoint_that_gives_nothing_is_named() -> None:
    with serving(lambda body: 503) as endpoint, pytest.raises(EndpointError, match="503"):
        list(exchanges(ChatEndpoint(endpoint.url, "m"), ["a"], 1))
