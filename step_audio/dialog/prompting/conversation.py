"""The items of one conversation: what was said, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeGuard

from step_audio.core.errors import DuplicateItem, ItemNotFound, Overloaded
from step_audio.core.profile import LanguageCode
from step_audio.core.types import (
    GROUP_MS,
    Role,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
)

ROOT = "root"
"""`after` of an item that goes to the front."""


@dataclass(frozen=True, slots=True)
class UserAudio:
    """A spoken question; `transcript` is what the model heard, None until it said so."""

    item_id: str
    groups: tuple[TokenGroup, ...]
    transcript: str | None = None


@dataclass(frozen=True, slots=True)
class Typed:
    """Text of the user, of the system, or of an assistant whose answer was never spoken here."""

    item_id: str
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """Words of a message; `spoken`: they were said, and their sound is not here."""

    text: str
    spoken: bool = False


@dataclass(frozen=True, slots=True)
class SpokenPart:
    """Sound of a message; `transcript` is what the client said it holds."""

    groups: tuple[TokenGroup, ...]
    transcript: str | None = None


@dataclass(frozen=True, slots=True)
class MultiPartMessage:
    """A message of a client with several parts, with none, or with words that were spoken."""

    item_id: str
    role: Role
    parts: tuple[WrittenPart | SpokenPart, ...]

    @property
    def is_blank(self) -> bool:
        """Whether it says nothing."""
        return all(isinstance(p, WrittenPart) and not p.text.strip() for p in self.parts)


def _nothing() -> tuple[str, list[TokenGroup], list[int]]:
    return "", [], []


@dataclass(slots=True)
class Answer:
    """What the assistant said; grows while a response runs."""

    item_id: str
    text: str = ""
    groups: list[TokenGroup] = field(default_factory=list)
    started: bool = False
    truncated: bool = False
    rest: Answer | None = None
    """What was not heard, once somebody asked for it with `go_on`."""
    _text_at: list[int] = field(default_factory=list)
    """Characters that had been written when group n was."""
    _unheard: tuple[str, list[TokenGroup], list[int]] = field(default_factory=_nothing)

    def add(self, event: TextDelta | TokenGroup) -> None:
        """Append what the model produced next; after a truncation it goes to the rest, if any."""
        self.started = True
        if self.rest is not None:
            self.rest.add(event)
            return
        if self.truncated:
            return
        if isinstance(event, TextDelta):
            self.text += event.text
        else:
            self.groups.append(event)
            self._text_at.append(len(self.text))

    @property
    def duration_ms(self) -> int:
        """Length of the spoken answer."""
        return len(self.groups) * GROUP_MS

    def truncate(self, audio_end_ms: int) -> None:
        """Leave out what the user did not hear: groups beyond the time, and their text.

        A later call may know better, so what is left out is kept aside for it.

        Text runs ahead of sound in the 10:15 layout, so the text written by then is only an
        upper bound; the share of the answer that was heard is the closer estimate.
        """
        self.truncated = True
        text, groups, at = self._whole()
        heard = min(len(groups), max(0, -(-audio_end_ms // GROUP_MS)))
        kept = text
        if heard < len(groups):
            written = at[heard - 1] if heard else 0
            share = len(text) * heard // len(groups)
            kept = _whole_words(text, min(written, share))
        self.text, self.groups, self._text_at = kept, groups[:heard], at[:heard]
        self._unheard = text[len(kept) :], groups[heard:], at[heard:]

    def _whole(self) -> tuple[str, list[TokenGroup], list[int]]:
        """Return text, groups and their places as they were before any truncation."""
        text, groups, at = self._unheard
        return self.text + text, self.groups + groups, self._text_at + at

    def go_on(self, item_id: str) -> Answer:
        """Return an answer of its own that begins with what was not heard of this one.

        What the model still writes is added there.
        """
        text, groups, at = self._unheard
        self._unheard = "", [], []
        self.truncated = True
        from_here = [max(0, n - len(self.text)) for n in at]
        self.rest = Answer(item_id, text, groups, started=True, _text_at=from_here)
        return self.rest


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call of the assistant; `internal` ones are carried out by the server itself."""

    item_id: str
    call: ToolCall
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """What a tool answered."""

    item_id: str
    result: ToolResult
    internal: bool = False


Item = UserAudio | Typed | MultiPartMessage | Answer | Called | Returned
Question = UserAudio | Typed | MultiPartMessage


def call_item_id(call_id: str) -> str:
    """Return the id under which a call of the model joins the conversation."""
    return f"item_{call_id}"


class Conversation:
    """Items in order. Every method either does all it says or raises and changes nothing."""

    def __init__(self, *, max_items: int = 1000) -> None:
        self._items: list[Item] = []
        self._max_items = max_items

    def __iter__(self) -> Iterator[Item]:
        return iter(tuple(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def has(self, item_id: str) -> bool:
        """Return whether an item of that id is there."""
        return any(item.item_id == item_id for item in self._items)

    @property
    def last_id(self) -> str | None:
        """Id of the newest item."""
        return self._items[-1].item_id if self._items else None

    def add(self, item: Item, *, after: str | None = None) -> str | None:
        """Insert an item and return the id of the one before it, None at the front.

        Args:
            item: with an id that is not taken.
            after: id of an item, `ROOT` for the front, None for the end.

        Raises:
            DuplicateItem, ItemNotFound; Overloaded: the conversation is full.
        """
        if self.has(item.item_id):
            raise DuplicateItem(item.item_id)
        if len(self._items) >= self._max_items:
            raise Overloaded(f"a conversation holds {self._max_items} items; delete some")
        at = len(self._items)
        if after is not None:
            at = 0 if after == ROOT else self._index(after) + 1
        self._items.insert(at, item)
        return self._items[at - 1].item_id if at else None

    def move(self, item_id: str, after: str) -> None:
        """Put an item behind another. Raises ItemNotFound: one of them is not there."""
        item = self._items[self._index(item_id)]
        self._index(after)
        self._items.remove(item)
        self._items.insert(self._index(after) + 1, item)

    def fork(self) -> Conversation:
        """Return a conversation that begins like this one; what is added there stays there."""
        other = Conversation(max_items=self._max_items)
        other._items = list(self._items)
        return other

    def adopt(self, other: Conversation) -> None:
        """Become one with a fork: what either is told from now on, both know.

        Transcripts that came while the fork was apart are kept.
        """
        told = {
            item.item_id: item.transcript
            for item in self._items
            if isinstance(item, UserAudio) and item.transcript is not None
        }
        self._items = other._items
        for at, item in enumerate(self._items):
            if isinstance(item, UserAudio) and item.transcript is None and item.item_id in told:
                self._items[at] = replace(item, transcript=told[item.item_id])

    def get(self, item_id: str) -> Item:
        """Return an item. Raises ItemNotFound."""
        return self._items[self._index(item_id)]

    def delete(self, item_id: str) -> None:
        """Remove an item. Raises ItemNotFound."""
        del self._items[self._index(item_id)]

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """Cut an answer to what was heard. Raises ItemNotFound: also when it is no answer."""
        item = self.get(item_id)
        if not isinstance(item, Answer):
            raise ItemNotFound(item_id, "spoken answer")
        item.truncate(audio_end_ms)

    def last_question(self, *, until: str | None = None) -> Question | None:
        """Return the newest item of the user, or the newest up to an item. Raises ItemNotFound."""
        return last_question(self.up_to(until))

    def transcribe(self, item_id: str, text: str) -> None:
        """Note what was heard in a spoken question. Raises ItemNotFound: also when not spoken."""
        at = self._index(item_id)
        item = self._items[at]
        if not isinstance(item, UserAudio):
            raise ItemNotFound(item_id, "spoken question")
        self._items[at] = replace(item, transcript=text)

    def has_call(self, call_id: str) -> bool:
        """Return whether the assistant made the call `call_id`."""
        return any(isinstance(i, Called) and i.call.call_id == call_id for i in self._items)

    def up_to(self, item_id: str | None) -> Sequence[Item]:
        """Return the items up to one, None for all. Raises ItemNotFound."""
        return self._items if item_id is None else self._items[: self._index(item_id) + 1]

    def _index(self, item_id: str) -> int:
        for at, item in enumerate(self._items):
            if item.item_id == item_id:
                return at
        raise ItemNotFound(item_id)


def is_question(item: Item) -> TypeGuard[Question]:
    """Return whether the user said it; an empty message asks nothing."""
    if isinstance(item, Typed | MultiPartMessage):
        blank = not item.text.strip() if isinstance(item, Typed) else item.is_blank
        return item.role == "human" and not blank
    return isinstance(item, UserAudio)


def last_question(items: Sequence[Item]) -> Question | None:
    """Return the newest item of the user."""
    return next((item for item in reversed(items) if is_question(item)), None)


def language_of(items: Sequence[Item]) -> LanguageCode | None:
    """Return the language of the newest words of a conversation, by their letters; None: none.

    Chinese and Japanese are told apart by kana; whatever has Latin letters counts as English.
    """
    for item in reversed(items):
        text = _words_of(item)
        for language, letters in _LETTERS.items():
            if letters.search(text):
                return language
    return None


def _words_of(item: Item) -> str:
    """Return what somebody said or typed; "" for instructions and tools."""
    match item:
        case UserAudio(transcript=str(text)) | Answer(text=text):
            return text
        case Typed(role=role, text=text) if role != "system":
            return text
        case MultiPartMessage(role=role, parts=parts) if role != "system":
            return " ".join(part.text for part in parts if isinstance(part, WrittenPart))
        case _:
            return ""


_LETTERS: Final[dict[LanguageCode, re.Pattern[str]]] = {
    "ko": re.compile("[\uac00-\ud7a3]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
    "en": re.compile("[A-Za-z]"),
}


def _whole_words(text: str, length: int) -> str:
    """Return at most `length` characters, without half a word (of a script with spaces)."""
    if length >= len(text) or text[length].isspace() or not text[:length].isascii():
        return text[:length].rstrip()
    return text[:length].rpartition(" ")[0].rstrip()
