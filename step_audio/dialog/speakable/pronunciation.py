"""Words that a small model was not taught, written by their sounds, so that it can read them.

A model of a small world knows its words as wholes. Any other word is written for it as its phones,
one character each behind a slash: "My sister" becomes "My /S^5ST3". Its weights list the words it
knows, a pronouncing dictionary, and letter rules for what no dictionary has (`lm/words.txt.xz`).
Models without that list are given the text as it is.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from step_audio.core.errors import WeightsError

FILE: Final = "words.txt.xz"
MOST_BYTES: Final = 32_000_000
"""Of the list when it is unpacked: weights may come from strangers."""

_PHONES: Final = (
    "B D F G K L M N P R S T V W Y Z HH JH CH SH TH DH NG ZH "
    "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
)
_CHARACTERS: Final = "BDFGKLMNPRSTVWYZHJCXQ897A1UO2IE34560$#%"
SYMBOLS: Final = dict(zip(_PHONES.split(), _CHARACTERS, strict=True))
"""ARPAbet phone to character; each is one id of a byte-level text tokenizer."""

STRESS: Final = "^"
SLASH: Final = "/"
RADIUS: Final = 3
"""Letters before and behind a letter that its rule may look at."""
_WORD: Final = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_LONGEST: Final = 60
_VOICELESS: Final = frozenset("PTKFQ")
_HISSING: Final = frozenset("SZXCJ7")


class Pronunciations:
    """How the words of any English sentence are said.

    Args:
        known: words that the model reads as they are written.
        entries: "\\nword SYMBOLS" behind one another, ended by a line end: kept as one text, which
            takes 3 MB for 125,000 words.
        rules: letters in their surroundings to symbols; see `contexts`.
    """

    def __init__(self, known: Iterable[str], entries: str, rules: Mapping[str, str]) -> None:
        self.known, self._entries, self._rules = frozenset(known), entries, rules

    def spelled(self, text: str, *, keep: Iterable[str] | None = None) -> str:
        """Return a sentence with its unknown words written by their sounds.

        Args:
            keep: words left as they are instead of those that the model knows.
        """
        kept = self.known if keep is None else frozenset(keep)

        def write(found: re.Match[str]) -> str:
            word = found[0].lower()
            return found[0] if word in kept else SLASH + self.sounds(word)

        return _WORD.sub(write, text)

    def has(self, word: str) -> bool:
        """Return whether the dictionary has a word in small letters."""
        return f"\n{word} " in self._entries

    def sounds(self, word: str) -> str:
        """Return the symbols of a word in small letters, known or not."""
        return (
            self._listed(word) or self._inflected(word) or self._compound(word) or self._ruled(word)
        )

    def _listed(self, word: str) -> str:
        start = self._entries.find(f"\n{word} ")
        if start < 0:
            return ""
        start += len(word) + 2
        return self._entries[start : self._entries.index("\n", start)]

    def _inflected(self, word: str) -> str:
        """Return a plural, a genitive or a past form of a listed word."""
        for ending in ("'s", "s'", "es", "s"):
            if word.endswith(ending) and (stem := self._listed(word[: -len(ending)])):
                if ending == "es" and stem[-1] not in _HISSING:
                    continue
                return stem + ("5Z" if stem[-1] in _HISSING else _voiced(stem, "S", "Z"))
        for ending, cut in (("ed", 2), ("ed", 1), ("ing", 3)):
            if not word.endswith(ending) or len(word) < len(ending) + 3:
                continue
            stem = self._listed(word[:-cut]) or self._listed(word[:-cut] + "e")
            if stem and ending == "ing":
                return stem + "59"
            if stem:
                return stem + ("5D" if stem[-1] in "TD" else _voiced(stem, "T", "D"))
        return ""

    def _compound(self, word: str) -> str:
        """Return two listed words written as one, the first as long as it can be."""
        for cut in range(len(word) - 3, 2, -1):
            first, second = self._listed(word[:cut]), self._listed(word[cut:])
            if first and second:
                return first + second.replace(STRESS, "")
        return ""

    def _ruled(self, word: str) -> str:
        letters = word.replace("'", "")[:_LONGEST]
        said = "".join(
            next((self._rules[c] for c in contexts(letters, i) if c in self._rules), "")
            for i in range(len(letters))
        )
        return said or "".join(self._listed(letter) for letter in letters)


def _voiced(stem: str, voiceless: str, voiced: str) -> str:
    return voiceless if stem[-1] in _VOICELESS or stem[-1] in "SXC" else voiced


def contexts(letters: str, index: int) -> list[str]:
    """Return a letter in ever smaller surroundings, "before<letter>behind"; "#" ends a word."""
    padded = "#" * RADIUS + letters + "#" * RADIUS
    at = index + RADIUS
    found = []
    for before, behind in ((3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (1, 0), (0, 0)):
        left, right = padded[at - before : at], padded[at + 1 : at + 1 + behind]
        found.append(f"{left}<{padded[at]}>{right}")
    return found


def symbols_of(phones: Iterable[str]) -> str:
    """Return ARPAbet phones as symbols; vowels with a stress of 1 get the mark where others have
    another stress."""
    listed = list(phones)
    marked = sum(phone[-1].isdigit() for phone in listed) > 1
    said = []
    for phone in listed:
        stressed = marked and phone.endswith("1")
        said.append((STRESS if stressed else "") + SYMBOLS[phone.rstrip("012")])
    return "".join(said)


def read_pronunciations(path: Path) -> Pronunciations:
    """Read a packed list: known words, a blank line, entries, a blank line, rules, all sorted.

    Raises:
        WeightsError: it is damaged or larger than 32 MB.
    """
    try:
        unpacker = lzma.LZMADecompressor(memlimit=256 << 20)
        raw = unpacker.decompress(path.read_bytes(), MOST_BYTES)
        text = raw.decode("ascii")
        if not unpacker.eof:
            raise WeightsError(f"{path} is cut off or unpacks to more than {MOST_BYTES >> 20} MB")
        known, entries, rules = text.split("\n\n")
        pairs = [line.partition("\t")[::2] for line in rules.splitlines()]
    except (lzma.LZMAError, ValueError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    return Pronunciations(known.split("\n"), f"\n{entries}\n", dict(pairs))


def write_pronunciations(
    path: Path, known: Iterable[str], entries: Mapping[str, str], rules: Mapping[str, str]
) -> None:
    """Write what `read_pronunciations` reads."""
    parts = (
        "\n".join(sorted(known)),
        "\n".join(f"{word} {sounds}" for word, sounds in sorted(entries.items())),
        "\n".join(f"{context}\t{sounds}" for context, sounds in sorted(rules.items())),
    )
    path.write_bytes(lzma.compress("\n\n".join(parts).encode("ascii"), preset=9))
