from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.dialog.speakable.style_tags import (
    PLAIN,
    Style,
    StyleFinder,
    StyleTag,
    last_tag,
    style_asked,
    style_named,
    styled,
)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        *[("happy", "高兴1"), ("高兴2", "高兴2"), ("RAP", "RAP"), ("Sichuanese", "四川话")],
        *[("广东话", "粤语"), ("humming", "哼唱"), ("very slow", "慢速2"), ("very fast", "快速2")],
    ],
)
def test_a_tag_is_known_in_both_languages(name: str, tag: str) -> None:
    style = style_named(name)
    assert style is not None
    assert style.tags == (tag,)


def test_inline_tags_hold_until_the_next() -> None:
    spans = styled("Hello. (sad) Oh no. （高兴1）好了 (RAP)yo")
    assert [(style.tags, text.strip()) for style, text in spans] == [
        ((), "Hello."),
        (("悲伤1",), "Oh no."),
        (("高兴1",), "好了"),
        (("RAP",), "yo"),
    ]


def test_brackets_that_are_no_tag_are_text() -> None:
    text = "He (my brother) left (3 pm)."
    assert styled(text) == [(PLAIN, text)]


def test_instructions_in_free_words_name_a_style() -> None:
    assert style_asked("Speak in a cheerful and positive tone.").tags == ("高兴1",)
    assert style_asked("Read very slowly, please, and softly.") == Style(("慢速2",), 0.75, 0.5)
    assert style_asked("用四川话，很快") == Style(("四川话", "快速2"), 1.35)
    assert style_asked("As a pirate would.") == PLAIN


def test_a_tag_in_the_text_wins_over_instructions() -> None:
    assert styled("(sad) Bye.", "happy") == [(Style(("悲伤1",), manners=("sad1",)), " Bye.")]


def test_tags_that_stand_together_hold_together_in_the_order_that_the_model_knows() -> None:
    spans = styled("(slow)(happy) （四川话）你好。(RAP)(fast)yo")
    assert [style.tags for style, _ in spans] == [("高兴1", "四川话", "慢速1"), ("RAP",)]
    assert styled("(fast) Bye.", "happy")[0][0].tags == ("高兴1", "快速1")
    assert last_tag("(sad) Oh. (happy)（快速1） Go") == "(happy)（快速1）"


@given(st.lists(st.integers(0, 40)))
def test_tags_in_streaming_text_are_found_however_it_is_cut(cuts: list[int]) -> None:
    text = "（快速）你好(my brother)。 (sad)(very slow) Oh (no"
    at = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    finder, out = StyleFinder(), list[str | StyleTag]()
    for a, b in pairwise(at):
        out += finder.push(text[a:b])
    out += finder.flush()
    said = "".join(item if isinstance(item, str) else f"|{item.written}|" for item in out)
    assert said.replace("|", "") == text
    tags = [item for item in out if isinstance(item, StyleTag) and item.written.strip()]
    assert [item.style.tags for item in tags] == [("快速1",), ("悲伤1",), ("悲伤1", "慢速2")]
    shown = "".join(item if isinstance(item, str) else "" for item in out)
    assert shown == "你好(my brother)。 Oh (no"


def test_a_text_of_tags_alone_has_nothing_to_say() -> None:
    assert styled("(happy) ...") == []


def test_a_bracket_before_many_spaces_is_text() -> None:
    text = "a(" + " " * 100_000
    assert styled(text) == [(PLAIN, text)]
    assert style_named(" happy ") == style_named("happy")


@pytest.mark.parametrize(
    "text",
    [
        "The film (English) was long.",
        "He is fluent (English).",
        "She was (happy) that day.",
        "这部电影（英文）很长。",
        "They left (fast), and we stayed.",
        "(happy), he said",
    ],
)
def test_a_name_in_brackets_within_a_sentence_is_text(text: str) -> None:
    assert styled(text) == [(PLAIN, text)]
    assert last_tag(text) == ""


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("(happy) Good morning.", ["高兴1"]),
        ("Oh! (sad) No.", ["", "悲伤1"]),
        ("（高兴）早上好！（悲伤）唉。", ["高兴1", "悲伤1"]),
        ("好了(高兴1)真好", ["", "高兴1"]),
        ("(happy)(fast) Go.", ["高兴1快速1"]),
        ('"(sad) No," she said.', ["悲伤1"]),
        ("Well, (sad) no.", ["", "悲伤1"]),
        ("One\n(sad)\ntwo", ["", "悲伤1"]),
    ],
)
def test_a_tag_begins_a_sentence_or_a_part_of_one(text: str, tags: list[str]) -> None:
    assert ["".join(style.tags) for style, _ in styled(text)] == tags


def test_a_name_in_brackets_within_a_streamed_sentence_is_text() -> None:
    finder = StyleFinder()
    text = "The film (English) was long. (sad) Oh."
    out = [item for char in text for item in finder.push(char)] + finder.flush()
    said = "".join(item if isinstance(item, str) else f"|{item.written}|" for item in out)
    assert said == "The film (English) was long. |(sad)|| |Oh."


def test_the_last_tag_is_what_holds_for_the_text_behind() -> None:
    assert last_tag("(sad) Oh. （快速1）Go (my brother)!") == "（快速1）"
    assert last_tag("Oh (my brother).") == ""
