"""Each rule of the reading chain by the examples in its own table."""

import pytest

from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.rules import READING, Rule


@pytest.mark.parametrize(
    ("rule", "written", "read"),
    [
        pytest.param(rule, written, read, id=f"{rule.name}-{number}")
        for rule in READING
        for number, (written, read) in enumerate(rule.examples)
    ],
)
def test_a_rule_does_what_its_examples_say(rule: Rule, written: str, read: str) -> None:
    assert rule.apply(written, TextOptions()) == read


@pytest.mark.parametrize("rule", READING, ids=lambda rule: rule.name)
def test_a_rule_says_what_it_does_and_leaves_plain_words_alone(rule: Rule) -> None:
    assert rule.does.endswith(".")
    assert any(written != read for written, read in rule.examples)
    plain = "It's a fine day, isn't it? Yes: very much so; thanks!"
    assert rule.apply(plain, TextOptions()) == plain


def test_no_two_rules_share_a_name() -> None:
    assert len({rule.name for rule in READING}) == len(READING)
