"""English of every kind to read aloud: WordNet's example sentences, and words of a dictionary.

The sentences come from Debian's `wordnet-base` (WordNet 3.0 licence), the pronunciations from
CMUdict (BSD). Only texts whose every word CMUdict has are taken, so that what is asked and what is
said agree.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from step_audio.core.errors import InputError
from step_audio.dialog.speakable.pronunciation import symbols_of

WORDNET: Final = Path("/usr/share/wordnet")
PARTS: Final = ("noun", "verb", "adj", "adv")
LENGTHS: Final = range(3, 15)
"""Words of a sentence."""

SALAD_SHARE: Final = 0.15
"""Share of texts that are random words: sounds that no sentence brings together."""

_EXAMPLE: Final = re.compile(r'"([^"]+)"')
_PLAIN: Final = re.compile(r"[A-Za-z]+(?:'[a-z]+)*(?:, [A-Za-z]|[A-Za-z' ])*")
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)*")


def read_cmudict(path: Path) -> dict[str, str]:
    """Return word to symbols (`speakable.pronunciation`), the first way of each word.

    Raises:
        InputError: the file is not there.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; `make nano-voices` fetches CMUdict")
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition("#")[0].split()
        if _WORD.fullmatch(word):
            entries.setdefault(word, symbols_of(phones))
    return entries


def example_sentences(entries: Mapping[str, str], folder: Path = WORDNET) -> list[str]:
    """Return WordNet's examples, sorted, as printed sentences.

    Raises:
        InputError: WordNet is not installed.
    """
    found = set[str]()
    for part in PARTS:
        path = folder / f"data.{part}"
        if not path.is_file():
            raise InputError(f"{path} is missing; install Debian's package wordnet-base")
        for example in _EXAMPLE.findall(path.read_text(encoding="ascii", errors="ignore")):
            text = " ".join(example.split()).strip(" .")
            words = _WORD.findall(text.lower())
            if (
                _PLAIN.fullmatch(text)
                and len(words) in LENGTHS
                and all(word in entries for word in words)
            ):
                found.add(f"{text[0].upper()}{text[1:]}.")
    return sorted(found)


def open_texts(entries: Mapping[str, str], seed: int, folder: Path = WORDNET) -> Iterator[str]:
    """Yield the examples in a random order, random words among them."""
    rng = random.Random(seed)
    examples, words = example_sentences(entries, folder), sorted(entries)
    rng.shuffle(examples)
    for example in examples:
        while rng.random() < SALAD_SHARE:
            drawn = " ".join(rng.choices(words, k=rng.randint(2, 7)))
            yield f"{drawn[0].upper()}{drawn[1:]}."
        yield example
