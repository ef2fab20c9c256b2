"""Words written by their sounds for a model that was not taught them."""

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import WeightsError
from step_audio.dialog.speakable.pronunciation import (
    FILE,
    SLASH,
    STRESS,
    SYMBOLS,
    Pronunciations,
    read_pronunciations,
    symbols_of,
    write_pronunciations,
)
from step_audio.engine.text import BpeTextTokenizer

NANO = Path(__file__).parents[3] / "step_audio/weights/nano"
ENTRIES = {
    "bus": symbols_of(["B", "AH1", "S"]),
    "sister": symbols_of(["S", "IH1", "S", "T", "ER0"]),
    "walk": symbols_of(["W", "AO1", "K"]),
    "want": symbols_of(["W", "AA1", "N", "T"]),
    "rain": symbols_of(["R", "EY1", "N"]),
    "make": symbols_of(["M", "EY1", "K"]),
    "coat": symbols_of(["K", "OW1", "T"]),
    "b": symbols_of(["B", "IY1"]),
}
RULES = {"#<z>": "Z", "<z>": "Z", "<o>": "A", "<g>": "G"}


@pytest.fixture
def words(tmp_path: Path) -> Pronunciations:
    write_pronunciations(tmp_path / FILE, ["my", "has", "it's"], ENTRIES, RULES)
    return read_pronunciations(tmp_path / FILE)


def test_known_words_stay_and_others_are_written_by_their_sounds(words: Pronunciations) -> None:
    assert words.spelled("My sister has, it's true.").startswith("My /S^5ST3 has, it's /")
    assert words.spelled("MY SISTER!") == "MY /S^5ST3!"


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("sisters", "S^5ST3Z"),
        ("sister's", "S^5ST3Z"),
        ("buses", "BUS5Z"),
        ("coats", "K0TS"),
        ("walked", "WOKT"),
        ("wanted", "WANT5D"),
        ("rained", "R4ND"),
        ("making", "M4K59"),
        ("raincoat", "R4NK0T"),
        ("zog", "ZAG"),
    ],
)
def test_forms_compounds_and_strange_words(words: Pronunciations, word: str, sounds: str) -> None:
    assert words.sounds(word) == sounds


def test_stress_is_marked_where_there_is_a_choice() -> None:
    assert symbols_of(["B", "AH1", "S"]) == "BUS"
    assert symbols_of(["AH0", "B", "AW1", "T"]) == f"UB{STRESS}2T"


@given(st.text(max_size=200))
def test_any_text_keeps_what_is_no_word(text: str) -> None:
    words = Pronunciations(["a"], "\nb B6\n", {"<x>": "KS"})
    spelled = words.spelled(text)
    assert sum(c == " " for c in spelled) == sum(c == " " for c in text)
    assert words.spelled("a") == "a"


def test_every_symbol_is_one_id_of_nano() -> None:
    tokenizer = BpeTextTokenizer(NANO / "lm" / "tokenizer.json")
    used = [*SYMBOLS.values(), STRESS, SLASH]
    assert len(set(used)) == len(used) == 41
    for symbol in used:
        assert len(tokenizer.encode(symbol)) == 1
    assert len(tokenizer.encode("/" + "".join(SYMBOLS.values()))) == 40


def test_damaged_and_boundless_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"no list")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_pronunciations(path)
    path.write_bytes(lzma.compress(b"a" * 40_000_000))
    with pytest.raises(WeightsError, match="more than"):
        read_pronunciations(path)
    path.write_bytes(lzma.compress(b"only one part"))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_pronunciations(path)
