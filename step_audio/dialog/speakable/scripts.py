"""What a model can read, by the letters that a text is written in.

A speech model that meets letters it was never taught does not stay silent: it babbles, and takes
the words around them along. Which languages those are is a fact of the checkpoint that its profile
states. Languages that share letters are not told apart: French is read by an English voice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from step_audio.core.errors import InputError
from step_audio.core.profile import LanguageCode
from step_audio.dialog.speakable.sentences import sentences

_ENGLISH_NAMES: Final[dict[LanguageCode, str]] = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
}
_SCRIPTS: Final[dict[LanguageCode, frozenset[str]]] = {
    "en": frozenset({"LATIN"}),
    "zh": frozenset({"CJK", "IDEOGRAPHIC"}),
    "ja": frozenset({"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA"}),
    "ko": frozenset({"HANGUL"}),
}
_PEOPLE_SAY: Final = {"CJK": "Chinese", "HANGUL": "Korean"}
_EMPTY_BRACKETS: Final = re.compile(r"[(\[（「《“«„\"]\s*[)\]）」》”»\"]")
_MARKS: Final = frozenset({"Mn", "Mc", "Me"})
_BEFORE_MARK: Final = re.compile(r"\s+(?=[.,!?;:](?:\s|$))")
_SPACES: Final = re.compile(r"\s{2,}")
_SHOWN_CHARS: Final = 60


class UnreadableText(InputError):
    """A sentence without a letter or figure that the model was taught to read."""

    code = "unreadable_text"

    def __init__(self, sentence: str, scripts: Iterable[str], languages: Iterable[str]) -> None:
        shown = sentence if len(sentence) <= _SHOWN_CHARS else f"{sentence[:_SHOWN_CHARS]}..."
        letters = _listed(sorted(_PEOPLE_SAY.get(s, s.capitalize()) for s in scripts))
        taught = _listed(list(languages))
        super().__init__(
            f"this model reads {taught}; there is nothing of it in {shown!r} ({letters} letters): "
            "leave that out, or write it as it is pronounced"
        )
        self.sentence = sentence
        self._shown, self._letters = shown, letters

    def warning(self) -> str:
        """Return what is said where the sentence was left out instead."""
        return f"left out {self._shown!r}: this model was not taught {self._letters} letters"


def refuse_unreadable(text: str, languages: tuple[LanguageCode, ...]) -> None:
    """Raise UnreadableText for the first sentence with words, but none that can be read.

    Args:
        text: of any length, without style tags.
        languages: what the model was taught; none: whatever it is given.
    """
    if not languages or text.isascii():
        return
    known = _known(languages)
    for sentence in sentences(text):
        scripts = [_script(c) for c in sentence]
        foreign = {script for script in scripts if script} - known
        if not foreign or any(script in known for script in scripts):
            continue
        # A letter beside a figure is a unit or a formula, which has a name in every language.
        words = any(a in foreign and b in foreign for a, b in pairwise(scripts))
        if words or not any(c.isnumeric() for c in sentence):
            raise UnreadableText(sentence, foreign, (_ENGLISH_NAMES[code] for code in languages))


def readable(text: str, languages: tuple[LanguageCode, ...]) -> str:
    """Return a sentence without the words that cannot be read; "" when no other is in it."""
    if not languages or text.isascii():
        return text
    kept = "".join(char for char, is_read in _read(text, languages) if is_read)
    if len(kept) == len(text):
        return text
    left = _SPACES.sub(" ", _EMPTY_BRACKETS.sub("", kept)).strip()
    left = _BEFORE_MARK.sub("", left)
    return left if any(c.isalnum() for c in left) else ""


def words_left_out(text: str, languages: tuple[LanguageCode, ...]) -> str:
    """Return the words of a sentence that `readable` leaves out of it."""
    if not languages or text.isascii():
        return ""
    return " ".join("".join(" " if r else char for char, r in _read(text, languages)).split())


def _read(text: str, languages: tuple[LanguageCode, ...]) -> Iterator[tuple[str, bool]]:
    """Yield each character, and whether it is read: a mark as the letter that it stands on."""
    known, is_read = _known(languages), True
    for char in text:
        if unicodedata.category(char) not in _MARKS:
            script = _script(char)
            is_read = script is None or script in known
        yield char, is_read


def _listed(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _known(languages: tuple[LanguageCode, ...]) -> frozenset[str]:
    return frozenset[str]().union(*(_SCRIPTS[code] for code in languages))


@lru_cache(maxsize=4096)
def _script(char: str) -> str | None:
    """Return the script of a letter by Unicode's names, such as CYRILLIC; None: not a letter."""
    plain = unicodedata.normalize("NFKC", char)[0]
    if unicodedata.category(plain) not in {"Lu", "Ll", "Lt", "Lo"}:
        return None
    return re.split(r"[ -]", unicodedata.name(plain, "unknown"))[0]
