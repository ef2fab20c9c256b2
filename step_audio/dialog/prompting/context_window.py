"""A conversation as a prompt that fits, and that begins like the prompt before it.

Old turns are shown by their words, a fourteenth of the ids of their sound; the newest few may keep
their sound. What has no room is dropped oldest first, and in steps: once a conversation is too
long, half of what history may take is freed at a time, so that for many turns the prompt only
grows at its end and the engine's prefix cache stays warm. Nothing here raises because somebody
said too much: a system text, then a question that is too long by itself, are shortened.

Source: text history for spoken turns, Step-Audio report, arXiv:2502.11946, section 4.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from step_audio.core.errors import InputError
from step_audio.core.ports import ToolSpec
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import GROUP_SIZE, Vocab
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn, instructions
from step_audio.dialog.prompting.rendering import turns as shown_turns

_LOG = logging.getLogger(__name__)

_HISTORY_SHARE = 0.75
"""Of the room after the system text; the rest is kept for what is asked now."""
_TOOLS_SHARE = 0.25
"""Of the whole room, at most, for the list of tools."""
_ID_CHARS = 8
"""No list of tools has so many characters an id: a longer one is cut before it is encoded."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids of a request and how they came about.

    Attributes:
        ids: up to and with the header of the assistant's turn.
        audio_ids: how many of them are sound.
        left_out: ids of the conversation that had no room.
    """

    ids: tuple[int, ...]
    audio_ids: int
    left_out: int


@dataclass(slots=True)
class Usage:
    """What one answer took: ids read (of all its rounds together) and written.

    Attributes:
        cut_off: whether its newest turn took all the ids that it may, and so ended unfinished.
        refused: fields of requests that a chat server does not take, and answered without.
    """

    input_text: int = 0
    input_audio: int = 0
    left_out: int = 0
    output_text: int = 0
    output_audio: int = 0
    cut_off: bool = False
    refused: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All ids, read and written."""
        return self.input_text + self.input_audio + self.output_text + self.output_audio


class ContextWindow:
    """Conversations to prompts for one model. Stateless: equal conversations, equal prompts."""

    def __init__(
        self,
        builder: PromptBuilder,
        vocab: Vocab,
        *,
        max_ids: int,
        recent_audio: int = 0,
        typed: Callable[[str], str] = str,
    ) -> None:
        """Remember the limits.

        Args:
            max_ids: most ids of a prompt.
            recent_audio: so many spoken exchanges before the question keep their sound, up to
                twice as many between two compactions; 0 where a model learned history as text.
            typed: what the model is shown of a text that a person typed.
        """
        self._builder, self._vocab = builder, vocab
        self._max_ids, self._recent_audio, self._typed = max_ids, recent_audio, typed

    def prompt(
        self,
        conversation: Conversation,
        system: str,
        until: str | None = None,
        tools: Sequence[ToolSpec] = (),
        exchange: tuple[str, str] | None = None,
    ) -> Prompt:
        """Return the prompt that asks for an answer to the newest item, or to `until`.

        Args:
            tools: that may be called, listed where the dialect lists tools. The last ones are
                left out when they take more than a quarter of the prompt.
            exchange: a request and its answer that set a role. They are then all the history: a
                model that knows roles by heart was shown no longer conversations in one.

        Raises:
            ItemNotFound: `until` is not there (any more).
            InputError: no prompt at all fits the model's context.
        """
        front = _Front(system, tools, exchange)
        ids, left_out = self._fitting(conversation, front, until, None)
        audio = sum(self._vocab.is_audio(token_id) for token_id in ids)
        begin = self._builder.beginning
        return Prompt((*begin, *ids, *self._builder.header("assistant")), audio, left_out)

    def text(self, text: str) -> tuple[int, ...]:
        """Return the ids of text inside a turn."""
        return tuple(self._builder.text(text))

    def so_far(
        self,
        conversation: Conversation,
        system: str,
        groups: tuple[TokenGroup, ...],
        tools: Sequence[ToolSpec] = (),
        exchange: tuple[str, str] | None = None,
    ) -> tuple[int, ...]:
        """Return how the prompt begins when the user has spoken `groups` and goes on."""
        ids, _ = self._fitting(
            conversation, _Front(system, tools, exchange), None, UserAudio("", groups)
        )
        # The end of the turn is still to come.
        return (*self._builder.beginning, *ids[:-1])

    def _fitting(
        self,
        conversation: Conversation,
        front: _Front,
        until: str | None,
        coming: UserAudio | None,
    ) -> tuple[list[int], int]:
        fixed = len(self._builder.beginning) + len(self._builder.header("assistant"))
        room = self._max_ids - fixed
        listed = self._listed(front.tools, int(room * _TOOLS_SHARE))

        def shown(recent_audio: int) -> list[Turn]:
            turns = shown_turns(
                conversation,
                front.system,
                recent_audio=recent_audio,
                until=until,
                coming=coming,
                takes_transcripts=self._vocab.heard_open is not None,
                typed=self._typed,
            )
            head = instructions(turns)
            turns = [*turns[:head], *_in_role(turns[head:], front.exchange)]
            return self._builder.arranged(turns, listed)

        turns = shown(self._recent_audio)
        parts = [self._builder.turn(turn) for turn in turns]
        whole = sum(map(len, parts))
        begins = [at for at, turn in enumerate(turns) if turn.role == "human"]
        head = instructions(turns)
        begins = [head, *begins[1:]] if begins else [head]
        self._shorten_front(parts[:head], room // 2)
        free = room - sum(map(len, parts[:head]))
        words = shown(0)
        sizes = [
            sum(len(self._builder.turn(turn)) for turn in words[here:there])
            for here, there in pairwise(begins)
        ]
        first = begins[_dropped(sizes, int(free * _HISTORY_SHARE))]
        kept = parts[first:]
        for here in [b for b in begins[1:] if b > first]:
            if sum(map(len, kept)) <= free:
                break
            kept, first = parts[here:], here
        self._shorten(turns[first:], kept, free)
        ids = [token_id for part in (*parts[:head], *kept) for token_id in part]
        return ids, whole - len(ids)

    def _listed(self, tools: Sequence[ToolSpec], most: int) -> list[Turn]:
        """Return the turn that lists tools, as many as `most` ids hold; none without any."""
        dialect = self._builder.dialect
        if dialect.schema_role is None or not tools:
            return []

        def size(count: int) -> int:
            if len(dialect.list_tools(tools[:count])) > most * _ID_CHARS:
                return most + 1
            return sum(
                len(self._builder.turn(turn)) for turn in self._builder.listing(tools[:count])
            )

        count = len(tools)
        if size(count) > most:
            count = max(0, bisect_right(range(len(tools)), most, key=size) - 1)
            facts = {"told": count, "left_out": len(tools) - count}
            _LOG.warning("too many tools for the model's context", extra=facts)
        return self._builder.listing(tools[:count])

    def _shorten_front(self, parts: list[list[int]], room: int) -> None:
        """Cut the ends of system texts in place until they take at most `room` ids."""
        for part in parts:
            excess = sum(map(len, parts)) - room
            if excess > 0:
                keep = max(len(self._builder.header("system")), len(part) - 1 - excess)
                del part[keep:-1]
        _empty(reversed(parts[1:]), parts, room)

    def _shorten(self, turns: Sequence[Turn], parts: list[list[int]], room: int) -> None:
        """Cut the beginnings of the longest turns in place until all take at most `room` ids."""
        for at in sorted(range(len(parts)), key=lambda n: -len(parts[n])):
            excess = sum(map(len, parts)) - room
            if excess <= 0:
                return
            step = self._step(turns[at])
            header = len(self._builder.header(turns[at].role))
            content = len(parts[at]) - header - 1
            cut = min(-(-excess // step) * step, content)
            if _is_mixed(turns[at]):
                cut = content  # between words and sound there is no step that fits both
            del parts[at][header : header + cut]
        _empty(parts[:-1], parts, room)
        if sum(map(len, parts)) > room:
            raise InputError(
                f"the model's context leaves {self._max_ids} ids for a prompt, too few for any;"
                " lower sampling.max_tokens"
            )

    def _step(self, turn: Turn) -> int:
        """Return in which steps a turn can be cut: sound in whole groups."""
        if not any(isinstance(part, Audio) for part in turn.parts):
            return 1
        whole = turn.role != "human" or self._vocab.hears_semantic
        return GROUP_SIZE if whole else 2


@dataclass(frozen=True, slots=True)
class _Front:
    """What stands in front of every conversation."""

    system: str
    tools: Sequence[ToolSpec]
    exchange: tuple[str, str] | None = None


def _is_mixed(turn: Turn) -> bool:
    """Return whether a turn has sound behind words."""
    return any(isinstance(part, Audio) for part in turn.parts[1:])


def _in_role(turns: Sequence[Turn], exchange: tuple[str, str] | None) -> Sequence[Turn]:
    """Return the exchange that sets a role, then the turns from the question on; all without."""
    if exchange is None:
        return turns
    asked = [at for at, turn in enumerate(turns) if turn.role == "human"]
    set_by = (Turn("human", (Text(exchange[0]),)), Turn("assistant", (Text(exchange[1]),)))
    return [*set_by, *turns[asked[-1] :]] if asked else [*turns, *set_by[:1]]


def _empty(first: Iterable[list[int]], parts: Sequence[list[int]], room: int) -> None:
    """Empty turns in the given order until all `parts` take at most `room` ids."""
    for part in first:
        if sum(map(len, parts)) <= room:
            return
        part.clear()


def _dropped(sizes: Sequence[int], most: int) -> int:
    """Return how many of the oldest exchanges have been dropped by now.

    Replays the conversation: the sizes of past exchanges as text never change, so what was
    dropped once stays so.

    Args:
        sizes: of all past exchanges, in ids.
        most: what they may take; when they take more, the oldest go until half of it is free.
    """
    dropped, total = 0, 0
    for at, size in enumerate(sizes):
        total += size
        if total > most:
            while total > most // 2 and dropped <= at:
                total -= sizes[dropped]
                dropped += 1
    return dropped
