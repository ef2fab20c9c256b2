"""Laws of the reading chain, over texts as people send them.

300 texts, 100 for each law; STEP_AUDIO_TEXTS=10000 and `--timeout=0` take as many for each.
"""

import os
import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from step_audio.core.profile import LanguageCode
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.characters import joined_lines
from step_audio.dialog.speakable.markup import without_tags
from step_audio.dialog.speakable.reader import SentenceReader, read_text
from step_audio.dialog.speakable.rules import read_sentence
from step_audio.dialog.speakable.sentences import MAX_CHARS, SentenceSplitter
from step_audio.dialog.speakable.style_tags import styled

TEXTS = int(os.environ.get("STEP_AUDIO_TEXTS", "100"))
SKIP = TextOptions(unreadable="skip")
many = settings(
    max_examples=TEXTS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        "the cat and I we no. No. Dr. e.g. U.S. p.m. May Jan. it's don't happy English "
        "你好 世界 中文 Привет мир नमस्ते سلام γειά naïve 안녕 こんにちは "
        "Zürich seat call room $ € £ users",
    )
)
FIGURES = st.one_of(
    st.integers(-(10**6), 10**15).map(str),
    st.floats(-1e6, 1e6).map(str),
    st.from_regex(
        r"[$€£¥￥-]?\d{1,4}([.,:/ -]\d{1,4}){0,3}(%|k|m|M|bn|kg|km/h|°C|B|亿|万)?", fullmatch=True
    ),
    st.dates().map(str),
    st.datetimes().map(lambda t: t.isoformat()),
    st.times().map(str),
    st.from_regex(r"\+?\d{1,3}[ -]\d{2,4}[ -]\d{3,4}", fullmatch=True),
)
ADDRESSES = st.one_of(
    st.emails(),
    st.from_regex(
        r"(https?://)?(www\.)?[a-z]{1,9}\.(com|org|io)(/[a-z?=&%#]{0,9})?", fullmatch=True
    ),
    st.ip_addresses().map(str),
)
MARKS = st.sampled_from(
    [
        *"#*_`~><|[](){}=+-/\\&@^:;,.!?'\"$%“”。，！（）—–→≤½²…",
        *re.findall(
            r"\S+",
            "** __ ``` ~~~ ~~ == <b> </b> <br> <!-- --> <3 &amp; &lt; &nbsp; &#39; \\( \\) $$ "
            "-> => (happy) （高兴1） (English) (RAP) [x](y) ![a](b c) [1]: <a@b.c> "
            "<|im_end|> |---| --- ... "
            "😀 🇺🇸 👍🏽",
        ),
        *("\u200b", "\u202e", "\ufeff", "\x00", "\x1b[31m", "\f", "\r\n", "\n\n", "\u2028"),
    ]
)
LINES = st.sampled_from(
    [
        "```python\nfor x in y: print(x)\n```\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "\n> > On Mon, 5 May 2024 at 10:32, John <john@x.org> wrote:\n> said\n",
        "[10:32] <alice> hi :) brb\n",
        "- [ ] one\n- [x] two\n1. three\n2) four\n",
        "# Title\n\n===\n",
        "nega-\ntive ",
        "C:\\Users\\me ",
        "def f(a: int) -> list[str]: return {'a': a ** 2}\n",
        "2024-05-12T10:30:00Z ERROR [main] x.y.Z: failed (code=5)\n",
    ]
)
PLANES = st.text(st.characters(), max_size=20)
PIECES = st.one_of(WORDS, FIGURES, ADDRESSES, MARKS, LINES, PLANES)
TEXT = st.lists(st.tuples(PIECES, st.sampled_from(["", " ", " ", ". ", "\n"])), max_size=30).map(
    lambda pieces: "".join(piece + gap for piece, gap in pieces)
)
LANGUAGES = st.sampled_from([(), ("en",), ("zh", "en", "ja", "ko")])


@given(TEXT, LANGUAGES)
@many
def test_any_text_is_read_without_a_crash(text: str, languages: tuple[LanguageCode, ...]) -> None:
    for spoken in read_text(text, SKIP, languages):
        assert 0 < len(spoken.text) <= MAX_CHARS
        assert spoken.text == spoken.text.strip()
        assert spoken.text.isprintable()
        assert any(c.isalnum() for c in spoken.text)


@given(TEXT)
@many
def test_a_text_with_letters_is_never_read_as_nothing(text: str) -> None:
    said = " ".join(said for _, said in styled(without_tags(text)))
    if any(c.isalpha() for c in said):
        assert read_text(text)


@given(TEXT, st.lists(st.integers(0, 400), max_size=8))
@many
def test_a_text_in_pieces_is_read_as_the_whole_is(text: str, cuts: list[int]) -> None:
    splitter, text_reader, last = SentenceSplitter(), SentenceReader(SKIP), 0
    written = list[str]()
    for cut in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        written += splitter.push(text[last:cut])
        last = cut
    written += splitter.flush()
    read = [spoken for sentence in written for spoken in text_reader.read(sentence)]
    read += text_reader.end()
    assert words(read) == words(read_text(text, SKIP))


def words(read: list[Any]) -> list[tuple[Any, list[str]]]:
    return [
        (spoken.style, [w for w in spoken.text.split() if any(c.isalnum() for c in w)])
        for spoken in read
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It cost $5.3 billion on 1/5/24, see example.com (English). ",
        "| a | b |\n> > said <b>x</b> [y](z) `w`\n",
        "b. ",
        "!",
        "a",
        "((",
        "[[",
        "<b ",
        "$1",
        "1 000 ",
        "nega-\n",
        "**_",
        "&amp;",
        "电话138-0013-8000，",
        "\u0335\u202e",
        "Mr. ",
        "- ",
        "\n",
    ],
)
def test_the_work_grows_with_the_text_and_no_faster(text: str) -> None:
    few, many = (work(text * (chars // len(text))) for chars in (1_000, 8_000))
    assert many <= 8 * few * 1.3


def work(text: str) -> int:
    """Return how many functions, those of the standard library included, one reading calls."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        read_text(text, SKIP)
    finally:
        sys.setprofile(before)
    return calls


def test_no_rule_is_given_more_than_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a regular expression does is not counted by calls: it is bounded by its input."""
    given_chars = list[int]()

    def counted(text: str, *args: Any, **kwargs: Any) -> str:
        given_chars.append(len(text))
        return read_sentence(text, *args, **kwargs)

    monkeypatch.setattr("step_audio.dialog.speakable.reader.read_sentence", counted)
    text = "word, " * 2_000 + "x" * 5_000 + "[" * 3_000 + "A sentence. " * 500
    read_text(text, SKIP)
    assert max(given_chars) <= MAX_CHARS
    assert sum(given_chars) <= len(text)


@pytest.mark.parametrize("unit", ["a-", "a-\n", "a- ", "ab-\u2010", "1a-"])
def test_a_chain_of_hyphens_is_no_work_for_hours(unit: str) -> None:
    # In the square of its length this would take longer than a test may.
    assert joined_lines(unit * 400_000)
