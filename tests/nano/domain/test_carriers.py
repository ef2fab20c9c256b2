import random

import pytest

from step_audio.nano.domain import INTENTS
from step_audio.nano.domain.carriers import (
    Carrier,
    Phrasings,
    Slot,
    ask,
    bare,
    expand,
    held_by_hash,
    load,
    phrasings,
)
from step_audio.nano.domain.knowledge import family_items, family_phrasings
from step_audio.nano.domain.small_talk import PIECES, kind_phrasings


def groups(intent: str) -> list[Phrasings]:
    if intent == "fact":
        found = [family_phrasings(name) for name in load("facts")]
        return found + [family_phrasings("the", x) for x in load("facts")["the"]["also"]]
    if intent == "small_talk":
        return [kind_phrasings(kind) for kind in (*load("talk")["small_talk"], *PIECES)]
    names = [name for name in load("carriers") if name.split("/")[0] == intent]
    return [phrasings(name) for name in names]


@pytest.mark.parametrize("intent", sorted(INTENTS))
def test_an_intent_has_sixty_carriers_and_holds_out_about_an_eighth(intent: str) -> None:
    carriers = [carrier for group in groups(intent) for carrier in group.carriers]
    assert len({carrier.id for carrier in carriers}) >= 60
    held = sum(carrier.held for carrier in carriers) / len(carriers)
    assert 0.05 <= held <= 0.22


def test_every_group_has_carriers_to_train_on() -> None:
    for intent in INTENTS:
        assert all(group.has("train") for group in groups(intent))


def test_every_item_of_the_facts_can_be_asked() -> None:
    assert sum(len(family_items(family)) for family in load("facts")) > 170
    also = load("facts")["the"]["also"]
    assert set(also) == {item["x"] for item in family_items("the")}


def test_a_pattern_expands_to_all_its_strings() -> None:
    assert expand("(a|b [c]) d") == ["a d", "b c d", "b d"]
    assert expand("x [y (1|2)] z") == ["x y 1 z", "x y 2 z", "x z"]
    assert expand("{a} plus {b}") == ["{a} plus {b}"]


@pytest.mark.parametrize("pattern", ["(a|b", "a)", "[a)", "a]"])
def test_an_unmatched_bracket_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="unmatched"):
        expand(pattern)


def test_the_split_is_a_fact_of_the_text_and_not_of_the_run() -> None:
    assert [key for key in "abcdefghij" if held_by_hash(key, 30)] == ["a", "c", "h"]


def test_self_repairs_end_with_the_right_slot() -> None:
    rng = random.Random(1)
    carrier = Carrier("sum", "short", "{a}", held=False)
    said = {ask(rng, carrier, {"a": Slot("one", lambda _: "two")}) for _ in range(2000)}
    repaired = [question for question in said if "two" in question]
    assert repaired
    assert all(question.index("two") < question.index("one") for question in repaired)


def test_nothing_follows_free_words() -> None:
    rng = random.Random(2)
    carrier = Carrier("repeat", "command", "say {words}", held=False)
    for _ in range(300):
        assert ask(rng, carrier, {"words": Slot("red house")}).endswith("red house")


def test_twins_that_can_give_the_same_question_share_a_split() -> None:
    assert bare("can you count from {a} to {b}") == bare("count from {a} to {b}")
    assert bare("what time is it now") == "what time is it"
    assert bare("now") == "now"
