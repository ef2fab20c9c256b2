"""Spoken instructions: which are given, and what counts as following them."""

from __future__ import annotations

import numpy as np

from step_audio.core.types import Pcm
from step_audio.data.speakers import HELD_NATURAL
from step_audio.nano.domain import delivery
from step_audio.nano.exam.manners import (
    MannerAnswer,
    examine_manners,
    manner_dialogues,
    manner_row,
    manner_table,
)

DIALOGUES = manner_dialogues(12)


def test_each_dialogue_asks_for_a_manner_and_then_to_speak_normally() -> None:
    assert manner_dialogues(12) == DIALOGUES
    assert len({d.tags for d in DIALOGUES}) > 4
    for dialogue in DIALOGUES:
        instruct, _, normal, _ = dialogue.turns
        assert dialogue.tags
        assert dialogue.tags == delivery(instruct.sample).tags
        assert not delivery(normal.sample).tags
        assert {turn.speaker for turn in dialogue.turns} <= set(HELD_NATURAL)


def test_each_dialogue_is_a_conversation_of_its_own() -> None:
    opened: list[int] = []

    def conversation() -> object:
        opened.append(0)

        def say(pcm: Pcm, rate_hz: int) -> str:
            opened[-1] += 1
            return f"answer {opened[-1]}"

        return say

    silence = [np.zeros(160, np.float32)] * 48
    found = list(examine_manners(conversation, DIALOGUES, sounds=silence))  # type: ignore[arg-type]
    assert opened == [4] * 12
    assert found[3].answers == ("answer 1", "answer 2", "answer 3", "answer 4")


def test_followed_is_the_tags_that_were_asked_for_and_undone_is_none() -> None:
    dialogue = DIALOGUES[0]
    right = f"{dialogue.tags} It is five."
    good = MannerAnswer(dialogue, ("Yes.", right, "All right.", "It is six."))
    more = MannerAnswer(dialogue, ("Yes.", f"(rap) {right}", "All right.", right))
    plain = MannerAnswer(dialogue, ("Yes.", "It is five.", "All right.", "It is six."))
    assert [a.followed for a in (good, more, plain)] == [True, False, False]
    assert [a.undone for a in (good, more, plain)] == [True, False, True]
    assert "| followed | 1 of 3 | 0.33 |" in manner_table([good, more, plain])
    assert manner_row(good)["answers"][1] == right
