"""Texts from grammar and chat endpoints: written once, and the same again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from step_audio.cli import main
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.llm import ChatEndpoint, EndpointError, exchanges, parse
from step_audio.data.pack import read_samples
from step_audio.data.samples import TASKS
from step_audio.data.tags import Tags
from step_audio.data.write import Exchange, Written, write
from step_audio.nano.corpus.exchanges import grammar
from tests.data.sounds import ASKED, PLAIN
from tests.endpoint import Refusal, serving


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
    assert write(tmp_path, [ASKED, PLAIN]) == Written(samples=12, lines=4, repeated=0)
    assert write(tmp_path, [ASKED, PLAIN]) == Written(samples=0, lines=0, repeated=12)
    assert {s.task for s in read_samples(tmp_path)} == set(TASKS)


def test_samples_that_the_set_has_already_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["data", "write", str(tmp_path / "set"), "--count", "3", "--tasks", "TTS,TQTA"]
    assert main(typed) == 0
    assert "6 new samples, 3 new lines\n" in capsys.readouterr().out
    assert main(typed) == 0
    assert "0 new samples, 0 new lines, 6 samples in it already\n" in capsys.readouterr().out


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
        assert write(tmp_path, texts(endpoint.url, 3), ["TQTA", "TTS"]) == Written(2 + 6, 6, 4)
        assert len(list(texts(endpoint.url, 3, seed=1))) == 6
        assert len(endpoint.requests) == 12


def test_an_endpoint_that_gives_nothing_is_named() -> None:
    with serving(lambda body: 503) as endpoint, pytest.raises(EndpointError, match="503"):
        list(exchanges(ChatEndpoint(endpoint.url, "m", pause_s=0), ["a"], 1))
    assert len(endpoint.requests) == 3


def test_a_refused_key_ends_at_once_and_the_servers_words_are_told_without_it() -> None:
    def reply(body: dict[str, object]) -> Refusal:
        return Refusal(401, '{"error": {"message": "bad key sk-1"}}')

    with serving(reply) as endpoint, pytest.raises(EndpointError, match=r"401: bad key \(key\)$"):
        list(exchanges(ChatEndpoint(endpoint.url, "m", "sk-1"), ["a"], 1, workers=1))
    assert len(endpoint.requests) == 1


def test_a_busy_server_is_waited_for_as_long_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("step_audio.data.llm.time.sleep", waits.append)
    row = json.dumps({"question": "Why?", "answer": "So."})
    busy = Refusal(429, "slow down", {"Retry-After": "7"})
    replies: Iterator[Refusal | int | str] = iter([busy, 500, row])
    with serving(lambda body: next(replies)) as endpoint:
        found = list(exchanges(ChatEndpoint(endpoint.url, "m"), ["a"], 1, workers=1))
    assert [e.answer for e in found] == ["So."]
    assert waits == [7.0, 2.0]


def test_lost_questions_are_told_with_what_was_said_instead() -> None:
    lost: list[Any] = []
    good = json.dumps({"question": "Why?", "answer": "So."})

    def reply(body: dict[str, object]) -> str:
        return good if "sky" in str(body["messages"]) else "I would rather not."

    with serving(reply) as endpoint:
        chat = ChatEndpoint(endpoint.url, "m")
        found = list(exchanges(chat, ["sky", "sea"], 1, workers=1, lost=lost.append))
    assert len(found) == 1
    assert lost == [
        {
            **{"topic": "sea", "number": 0},
            "why": "no completion was of the asked form; the last one: I would rather not.",
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        'Sure! Here is one: {"question": "Why?", "answer": "So."} Enjoy.',
        '<think>{"question": "no"} and {half</think>\n{"question": "Why?", "answer": "So."}',
        '{bad} then {"question": "Why?", "answer": "So."}',
    ],
)
def test_the_object_is_found_in_whatever_stands_around_it(text: str) -> None:
    found = parse(text, "en", {})
    assert found is not None
    assert (found.question, found.answer) == ("Why?", "So.")


@pytest.mark.parametrize("text", ["<think>" + "{" * 4000, "[1]", "", '{"question": 3}', "{" * 9000])
def test_what_holds_no_exchange_is_none(text: str) -> None:
    assert parse(text, "en", {}) is None
