"""Rules survive the wire, and nothing from outside becomes a wrong rule."""

from __future__ import annotations

import json

import pytest

from step_audio.core.errors import InputError
from step_audio.engine.grammar import Grammar
from step_audio.engine.rules import Rules, read_rules, write_rules
from tests.fakes import VOCAB


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(Grammar(VOCAB, "answer")),
        Rules(Grammar(VOCAB, "speech"), 10),
        Rules(None, 10),
    ],
)
def test_what_is_written_is_read(rules: Rules) -> None:
    wire = json.loads(json.dumps(write_rules(rules)))
    assert all(isinstance(value, str | int) for value in wire.values()), "what vLLM lets through"
    assert read_rules(wire | {"other": 1}, VOCAB.size) == rules


def test_a_request_without_rules_sends_none() -> None:
    assert write_rules(Rules()) == {}


@pytest.mark.parametrize("window", [-1, 1001, 2.5, "10", True, None])
def test_a_window_that_is_none_is_refused(window: object) -> None:
    with pytest.raises(InputError, match="repetition_window"):
        read_rules({"repetition_window": window}, VOCAB.size)


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="form"):
        read_rules({"form": "no such form"}, VOCAB.size)
