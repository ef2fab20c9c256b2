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
    AudioChunk,
    Role,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
)
from step_audio.dialog.recognition.speech import Speech
from step_audio.dialog.turns.utterance import SpokenQuestion

ROOT = "root"
"""`after` of an item that goes to the front."""


@dataclass(frozen=True, slots=True)
class UserAudio:
    """A spoken question.

    Attributes:
        groups: its tokens, () where no model takes any.
        transcript: what was heard, None until it is known.
        language: in which, ISO 639-1; "" unknown.
        speech: its sound, for a speech recognizer or a chat model that hears.
    """

    item_id: str
    groups: tuple[TokenGroup, ...]
    transcript: str | None = None
    language: str = ""
    speech: Speech | None = field(default=None, compare=False)

    @classmethod
    def spoken(cls, item_id: str, question: SpokenQuestion) -> UserAudio:
        """Return the item of a question that was spoken here."""
        return cls(item_id, question.groups, speech=question.speech)


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
    """Sound of a message.

    Attributes:
        groups, speech: as of `UserAudio`.
        transcript: what the client said it holds, or what was heard.
        language: in which it was heard, ISO 639-1; "" unknown.
    """

    groups: tuple[TokenGroup, ...]
    transcript: str | None = None
    speech: Speech | None = field(default=None, compare=False)
    language: str = ""


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


@dataclass(frozen=True, slots=True)
class _Sound:
    """A piece of an answer's sound.

    Attributes:
        ms: its length.
        written: characters of the answer that had been written when it came.
        group: its tokens, None where a speech model made it from text.
    """

    ms: float
    written: int
    group: TokenGroup | None = None


@dataclass(slots=True)
class Answer:
    """What the assistant said; grows while a response runs.

    Attributes:
        read_aloud: a second model reads the text, each piece of it followed by its sound; else the
            model itself speaks, and its text runs ahead of its sound.
        rest: what was not heard, once somebody asked for it with `go_on`.
    """

    item_id: str
    text: str = ""
    read_aloud: bool = False
    started: bool = False
    truncated: bool = False
    rest: Answer | None = None
    _sound: list[_Sound] = field(default_factory=list)
    _unheard: tuple[str, list[_Sound]] = ("", [])
    _tags: list[tuple[int, str]] = field(default_factory=list)
    """Style tags and where in the text they were written."""

    @property
    def as_written(self) -> str:
        """The text with the style tags that the model wrote in it: what its history shows.

        A tag of which no word was heard is left out.
        """
        out, begin = "", 0
        for at, tag in self._tags:
            if at < len(self.text):
                out, begin = out + self.text[begin:at] + tag, at
        return out + self.text[begin:]

    @property
    def groups(self) -> list[TokenGroup]:
        """The tokens of its sound, none where a speech model made it."""
        return [piece.group for piece in self._sound if piece.group is not None]

    def add(self, event: TextDelta | TokenGroup | AudioChunk) -> None:
        """Append what the model produced next; after a truncation it goes to the rest, if any."""
        self.started = True
        if self.rest is not None:
            self.rest.add(event)
            return
        if self.truncated:
            return
        written = len(self.text)
        match event:
            case TextDelta():
                if event.tags:
                    # Space in front of the piece was written in front of its tags.
                    space = len(event.text) - len(event.text.lstrip())
                    self._tags.append((written + space, event.tags))
                self.text += event.text
            case TokenGroup():
                self._sound.append(_Sound(GROUP_MS, written, event))
            case AudioChunk():
                self._sound.append(_Sound(event.duration_ms, written))

    @property
    def duration_ms(self) -> int:
        """Length of the spoken answer."""
        return round(sum(piece.ms for piece in self._sound))

    def truncate(self, audio_end_ms: int) -> None:
        """Leave out what the user did not hear: sound beyond the time, and its text.

        A later call may know better, so what is left out is kept aside for it.
        """
        self.truncated = True
        text, sound = self.text + self._unheard[0], self._sound + self._unheard[1]
        heard, at_ms = 0, 0.0
        while heard < len(sound) and at_ms < audio_end_ms:
            at_ms += sound[heard].ms
            heard += 1
        kept = text
        if heard < len(sound):
            at = _read_by if self.read_aloud else _spoken_by
            kept = _whole_words(text, at(text, sound, heard))
        self.text, self._sound = kept, sound[:heard]
        self._unheard = text[len(kept) :], sound[heard:]

    def go_on(self, item_id: str) -> Answer:
        """Return an answer of its own that begins with what was not heard of this one.

        What the model still writes is added there.
        """
        text, sound = self._unheard
        self._unheard = "", []
        self.truncated = True
        from_here = [replace(p, written=max(0, p.written - len(self.text))) for p in sound]
        heard = len(self.text)
        tags = [(at - heard, tag) for at, tag in self._tags if at >= heard]
        self.rest = Answer(
            item_id, text, self.read_aloud, started=True, _sound=from_here, _tags=tags
        )
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
            item.item_id: (item.transcript, item.language)
            for item in self._items
            if isinstance(item, UserAudio) and item.transcript is not None
        }
        self._items = other._items
        for at, item in enumerate(self._items):
            if isinstance(item, UserAudio) and item.transcript is None and item.item_id in told:
                transcript, language = told[item.item_id]
                self._items[at] = replace(item, transcript=transcript, language=language)

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

    def transcribe(self, item_id: str, heard: Transcript) -> None:
        """Note what was heard in a spoken question. Raises ItemNotFound: also when not spoken."""
        at = self._index(item_id)
        item = self._items[at]
        if not isinstance(item, UserAudio):
            raise ItemNotFound(item_id, "spoken question")
        self._items[at] = replace(item, transcript=heard.text, language=heard.language)

    def transcribe_parts(self, item_id: str, heard: Sequence[Transcript]) -> None:
        """Note what was heard in the spoken parts of a message that had no words, in order.

        Raises:
            ItemNotFound: also when it is no such message.
        """
        at = self._index(item_id)
        item = self._items[at]
        if not isinstance(item, MultiPartMessage):
            raise ItemNotFound(item_id, "message of several parts")
        found, parts = iter(heard), list[WrittenPart | SpokenPart]()
        for part in item.parts:
            if isinstance(part, SpokenPart) and part.transcript is None:
                told = next(found)
                parts.append(replace(part, transcript=told.text, language=told.language))
            else:
                parts.append(part)
        self._items[at] = replace(item, parts=tuple(parts))

    def has_call(self, call_id: str) -> bool:
        """Return whether the assistant made the call `call_id`."""
        return any(isinstance(i, Called) and i.call.call_id == call_id for i in self._items)

    def typed(self) -> list[str]:
        """Return the texts that the user typed."""
        texts: list[str] = []
        for item in self._items:
            if isinstance(item, Typed) and item.role == "human":
                texts.append(item.text)
            elif isinstance(item, MultiPartMessage) and item.role == "human":
                texts += [part.text for part in item.parts if isinstance(part, WrittenPart)]
        return texts

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


def is_unbegun(conversation: Conversation) -> bool:
    """Return whether nobody has said anything yet; instructions do not count."""
    return all(isinstance(item, Typed) and item.role == "system" for item in conversation)


def last_question(items: Sequence[Item]) -> Question | None:
    """Return the newest item of the user."""
    return next((item for item in reversed(items) if is_question(item)), None)


def _spoken_by(text: str, sound: Sequence[_Sound], heard: int) -> int:
    """Return how many characters a model that speaks itself had said after `heard` pieces.

    Text runs ahead of sound in the 10:15 layout, so the text written by then is only an upper
    bound; the share of the answer that was heard is the closer estimate.
    """
    written = sound[heard - 1].written if heard else 0
    return min(written, len(text) * heard // len(sound))


def _read_by(text: str, sound: Sequence[_Sound], heard: int) -> int:
    """Return how many characters had been read aloud after `heard` pieces of sound.

    Of the sentence that was being read: as large a share as of its sound.
    """
    if not heard:
        return 0
    end = sound[heard - 1].written
    sentence = [piece for piece in sound if piece.written == end]
    start = max((piece.written for piece in sound if piece.written < end), default=0)
    total = sum(piece.ms for piece in sentence)
    done = sum(piece.ms for piece in sound[:heard] if piece.written == end)
    return start + (round((end - start) * done / total) if total else 0)


def language_of(items: Sequence[Item]) -> str | None:
    """Return the language of the newest words of a conversation, ISO 639-1; None: it has no words.

    It is what a recognizer heard; of other words the letters tell it: Chinese and Japanese are told
    apart by kana, and whatever has Latin letters is in the newest such language that was heard, or
    counts as English.
    """
    words = [said for item in reversed(items) for said in reversed(_words_of(item))]
    for text, heard in words:
        if heard and text.strip():
            return heard
        for language, letters in _LETTERS.items():
            if letters.search(text) and language != "en":
                return language
            if letters.search(text):
                return next((h for _, h in words if h and h not in _LETTERS), language)
    return None


def _words_of(item: Item) -> list[tuple[str, str]]:
    """Return what somebody said or typed, each with the language it was heard in, "" unknown."""
    match item:
        case UserAudio(transcript=str(text), language=language):
            return [(text, language)]
        case Answer(text=text):
            return [(text, "")]
        case Typed(role=role, text=text) if role != "system":
            return [(text, "")]
        case MultiPartMessage(role=role, parts=parts) if role != "system":
            return [
                (part.text, "")
                if isinstance(part, WrittenPart)
                else (part.transcript or "", part.language)
                for part in parts
            ]
        case _:
            return []


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
