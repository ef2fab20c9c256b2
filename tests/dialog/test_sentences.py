import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.dialog.sentences import SentenceSplitter, sentences


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
