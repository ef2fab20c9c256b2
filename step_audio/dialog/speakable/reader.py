"""A text, sentence by sentence, as it is read aloud: styles, rules, and what cannot be read."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from step_audio.core.profile import LanguageCode
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.characters import cleaned, has_words
from step_audio.dialog.speakable.markup import without_tags
from step_audio.dialog.speakable.rules import read_sentence
from step_audio.dialog.speakable.scripts import (
    UnreadableText,
    readable,
    refuse_unreadable,
    words_left_out,
)
from step_audio.dialog.speakable.sentences import sentences
from step_audio.dialog.speakable.style_tags import Style, style_asked, tags_in
from step_audio.dialog.speakable.symbols import named_letters


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    """What the model is given to read, and the style that holds for it."""

    style: Style
    text: str


class SentenceReader:
    """Reads one text, written sentence after written sentence.

    The sentences are those of `SentenceSplitter`: a text that comes in pieces is read as the whole
    is. `warnings` says what was left out because the model was not taught to read it.
    """

    def __init__(
        self,
        options: TextOptions = TextOptions(),  # noqa: B008 - frozen
        languages: tuple[LanguageCode, ...] = (),
        instructions: str = "",
    ) -> None:
        """Args: languages: what the model was taught; none: whatever it is given."""
        self._options, self._languages = options, languages
        self._chinese = not languages or "zh" in languages
        self._asked = self._style = style_asked(instructions)
        self._tagged = False  # whether nothing was said since the last tag
        self._spoke = False
        self._unspoken = ""
        self.warnings: list[str] = []

    def read(self, written: str) -> list[SpokenSentence]:
        """Return what is read of one written sentence; words are longer than figures, so several.

        Raises:
            UnreadableText: nothing of it is in letters that the model was taught, and the options
                do not say that such a sentence is left out.
        """
        out = list[SpokenSentence]()
        spans = self._spans(written)
        for style, said in spans:
            if self._is_readable(said):
                text = read_sentence(said, self._options, chinese=self._chinese)
                text = readable(text, self._languages)
                out += [SpokenSentence(style, part) for part in _parts(text)]
        self._note([said for _, said in spans], out)
        return out

    def end(self) -> list[SpokenSentence]:
        """Return the letters of a text of which nothing was read so far: it is not silence.

        Tags alone are: nobody meant them to be heard.
        """
        if self._spoke or not self._unspoken or self.warnings:
            return []
        bare = replace(self._options, markdown=False)
        text = read_sentence(self._unspoken, bare, chinese=self._chinese) or self._unspoken
        text = readable(text, self._languages)
        return [SpokenSentence(self._style, part) for part in _parts(text)]

    def check(self, written: str) -> None:
        """Add what `read` would warn of, or raise what it would raise, at a fraction of the work.

        Raises:
            UnreadableText: as `read`.
        """
        if not written.isascii():
            for _, said in self._spans(written):
                self._is_readable(said)

    def _spans(self, written: str) -> list[tuple[Style, str]]:
        """Return a sentence in spans of one style; tags that stand together hold together."""
        if not self._options.style_tags:
            return [(self._style, written)]
        spans, start = list[tuple[Style, str]](), 0
        for style, found in tags_in(written):
            self._add(spans, written[start : found.start()])
            self._style = (self._style if self._tagged else self._asked).with_more(style)
            self._tagged, start = True, found.end()
        self._add(spans, written[start:])
        return spans

    def _add(self, spans: list[tuple[Style, str]], said: str) -> None:
        if has_words(said):
            spans.append((self._style, said))
            self._tagged = False

    def _is_readable(self, said: str) -> bool:
        if said.isascii():
            return True
        plain = named_letters(cleaned(said))
        try:
            refuse_unreadable(plain, self._languages)
        except UnreadableText as error:
            if self._options.unreadable == "refuse":
                raise
            self.warnings.append(error.warning())
            return False
        if words := words_left_out(plain, self._languages):
            self.warnings.append(f"left out {words!r}: this model was not taught such letters")
        return True

    def _note(self, said: list[str], out: list[SpokenSentence]) -> None:
        self._spoke = self._spoke or bool(out)
        if not self._spoke and not self._unspoken and self._options.addresses != "omit":
            self._unspoken = _letters(without_tags(" ".join(said)))


def read_text(
    text: str,
    options: TextOptions = TextOptions(),  # noqa: B008 - frozen
    languages: tuple[LanguageCode, ...] = (),
    instructions: str = "",
) -> list[SpokenSentence]:
    """Return a whole text as it is read. Raises UnreadableText, see `SentenceReader.read`."""
    reader = SentenceReader(options, languages, instructions)
    return [
        *(spoken for written in sentences(text) for spoken in reader.read(written)),
        *reader.end(),
    ]


def check_text(text: str, options: TextOptions, languages: tuple[LanguageCode, ...]) -> list[str]:
    """Return what is to be said of the parts of a text that are left out.

    Raises:
        UnreadableText: as `SentenceReader.read`, for the first sentence.
    """
    if not languages or text.isascii():
        return []
    reader = SentenceReader(options, languages)
    for written in sentences(text):
        reader.check(written)
    return reader.warnings


def _parts(text: str) -> list[str]:
    """Return a sentence in words in parts that are short enough: it may have grown."""
    return [part for part in sentences(text) if any(c.isalnum() for c in part)]


def _letters(text: str) -> str:
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
    return " ".join("".join(kept).split())
