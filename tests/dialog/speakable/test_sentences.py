import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.dialog.speakable.sentences import SentenceSplitter, sentences


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        ("   ", []),
        ("Hello there", ["Hello there"]),
        ("Hi. How are you? Fine!", ["Hi.", "How are you?", "Fine!"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("It is 3.5 degrees. Cold.", ["It is 3.5 degrees.", "Cold."]),
        ("Mr. Smith met Dr. Jones.", ["Mr. Smith met Dr. Jones."]),
        ("你好，世界。再见！", ["你好，世界。", "再见！"]),
        ("one\ntwo", ["one", "two"]),
        (
            "We met at 5 p.m. in Mt. Hope. It rained.",
            ["We met at 5 p.m. in Mt. Hope.", "It rained."],
        ),
        ("We met at 5 p.m. It rained.", ["We met at 5 p.m.", "It rained."]),
        ("On Jan. 5 the U.S. Army left.", ["On Jan. 5 the U.S. Army left."]),
        ("No. 5 is mine. Is it? No. It is not.", ["No. 5 is mine.", "Is it?", "No.", "It is not."]),
        ("a" * 500, ["a" * 200, "a" * 200, "a" * 100]),
        ("word, " * 50, [("word, " * 33).strip(), ("word, " * 17).strip()]),
    ],
)
def test_sentences(text: str, want: list[str]) -> None:
    assert sentences(text) == want


@given(st.text(alphabet="ab .,!?。\n", max_size=300), st.integers(5, 30))
def test_splitting_loses_nothing_but_outer_space_and_keeps_to_the_limit(
    text: str, limit: int
) -> None:
    out = sentences(text, max_chars=limit)
    assert "".join("".join(out).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= limit for sentence in out)


@given(st.text(alphabet="ab .!。\n3", max_size=80), st.lists(st.integers(0, 80), max_size=6))
def test_splitter_does_not_care_how_its_text_is_cut(text: str, cuts: list[int]) -> None:
    splitter, last = SentenceSplitter(), 0
    out: list[str] = []
    for cut in [*sorted(min(c, len(text)) for c in cuts), len(text)]:
        out += splitter.push(text[last:cut])
        last = cut
    out += splitter.flush()
    assert "".join("".join(out).split()) == "".join(text.split())


BOOK = """CHAPTER I

It was the best of times, it was the worst of times, it was the age of
Wisdom, it was the age of foolishness.  It was the epoch of belief; Mr.
Lorry, however, slept.

"Not you," said he."""


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_lines_broken_to_fit_a_page_are_no_ends(line_break: str) -> None:
    said = [" ".join(s.split()) for s in sentences(BOOK.replace("\n", line_break))]
    assert said == [
        "CHAPTER I",
        "It was the best of times, it was the worst of times, it was the age of Wisdom, "
        "it was the age of foolishness.",
        "It was the epoch of belief; Mr. Lorry, however, slept.",
        '"Not you," said he.',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Roses are red\nViolets are blue",
        "- a thing to buy that takes more than fifty characters\n- another thing",
        "1) a thing to buy that takes more than fifty characters\n2) another thing",
        "A line of more than fifty characters that has an end of its own.\nAnother line",
        "这一行字没有句号这一行字没有句号这一行字没有句号这一行字没有句号这一行字没有句号这一行字没有句号这一行\n下一行",
    ],
)
def test_other_line_breaks_are_ends(text: str) -> None:
    assert sentences(text) == [line.strip() for line in text.split("\n")]


@pytest.mark.parametrize("text", ["a" + "!" * 20_000 + "b", "a" * 20_000, "b. " * 6_000])
def test_a_long_text_without_an_end_is_split_with_nothing_lost(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == text.replace(" ", "")


@pytest.mark.parametrize(
    "text", ["Go " * 70 + "to 10:30 or 1,234 now", "x " * 90 + "https://a.example/b:c,d " * 3]
)
def test_neither_a_number_nor_an_address_is_cut_for_breath(text: str) -> None:
    assert [word for sentence in sentences(text) for word in sentence.split()] == text.split()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("It is nega-\ntive.", ["It is nega-\ntive."]),
        ("It is nega-\r\n  tive.", ["It is nega-\r\n  tive."]),
        ("The best\fof times.", ["The best\fof times."]),
        ("The end.\fChapter Two", ["The end.", "Chapter Two"]),
        ("Yes -\nno", ["Yes -", "no"]),
        ("one\rtwo\u2028three", ["one", "two", "three"]),
        ("1. One\n2. Two", ["1. One", "2. Two"]),
        ("See vol. II and apt. 4 now.", ["See vol. II and apt. 4 now."]),
        ("He said no. 5 people left.", ["He said no.", "5 people left."]),
    ],
)
def test_lines_and_pages_cut_within_a_word_or_sentence_go_on(text: str, want: list[str]) -> None:
    assert sentences(text) == want
