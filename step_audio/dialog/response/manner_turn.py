"""Style tags that a model writes into its own answer: taken out of it, and done to its sound.

For models that speak themselves in tokens which carry no manner, behind a vocoder that does
(`dialog.manners`). In the model's history the tags stay, so that it knows how it spoke.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Final

from step_audio.core.types import TextDelta, TokenGroup, Voice, VoiceChange
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.speakable.style_tags import Style, StyleFinder, StyleTag

_GROUPS_PER_CHAR: Final = 0.7
"""Of nano's speech (mean of 20 sentences; 0.5 to 0.9): its text runs ahead of its sound."""


def voice_change(voice: Voice, style: Style, manners: Collection[str]) -> VoiceChange:
    """Return how a voice that knows `manners` speaks in a style."""
    done = style.by_voice(manners)
    return VoiceChange(voice, manner=done.manners, speed=done.speed, volume=done.volume)


async def in_manner(
    events: AsyncGenerator[TurnEvent, None], voice: Voice, asked: Style, manners: Collection[str]
) -> AsyncGenerator[TurnEvent | VoiceChange, None]:
    """Yield the events of a turn without the tags of its text, and a change of voice for each.

    A tag at the beginning holds for all of the sound. For one further on nobody knows which group
    says the word behind it: the change comes where the text before it is over at usual pace.

    Args:
        events: of the turn.
        voice: who speaks.
        asked: style of the whole turn; the text's own tags go before it.
        manners: that the voice does itself.
    """
    turn = _Turn(voice, asked, manners)
    async with aclosing(events):
        async for event in events:
            for out in turn.push(event):
                yield out
    for out in turn.flush():
        yield out


class _Turn:
    def __init__(self, voice: Voice, asked: Style, manners: Collection[str]) -> None:
        self._voice, self._asked, self._manners = voice, asked, manners
        self._base = self._speaking = voice_change(voice, asked, manners)
        self._finder = StyleFinder()
        self._tags = ""
        self._chars = self._groups = 0
        self._due: deque[tuple[int, VoiceChange]] = deque()
        self._waiting: deque[TokenGroup] = deque()

    def push(self, event: TurnEvent) -> Iterable[TurnEvent | VoiceChange]:
        if isinstance(event, TextDelta):
            yield from self._text(self._finder.push(event.text))
            yield from self._spoken()
        elif isinstance(event, TokenGroup):
            self._waiting.append(event)
            yield from self._spoken()
        else:
            yield from self._text(self._finder.flush())
            yield from self._spoken()
            yield event

    def flush(self) -> Iterable[TurnEvent | VoiceChange]:
        yield from self._text(self._finder.flush())
        yield from self._spoken()
        if not self._speaking.same_as(self._base):
            yield self._base  # what follows the turn is spoken as it was asked

    def _text(self, items: Iterable[str | StyleTag]) -> Iterable[TurnEvent]:
        for item in items:
            if isinstance(item, StyleTag):
                self._tags += item.written
                style = self._asked.with_more(item.style)
                at = round(self._chars * _GROUPS_PER_CHAR)
                self._due.append((at, voice_change(self._voice, style, self._manners)))
            else:
                self._chars += len(item)
                yield TextDelta(item, self._tags)
                self._tags = ""

    def _spoken(self) -> Iterable[TokenGroup | VoiceChange]:
        """Yield the groups that are due: in front of the first word a tag may be half written."""
        if self._finder.undecided and not self._chars:
            return
        while self._waiting:
            yield from self._changes()
            self._groups += 1
            yield self._waiting.popleft()

    def _changes(self) -> Iterable[VoiceChange]:
        """Yield what is due before the next group, the last of several."""
        change = self._speaking
        while self._due and self._due[0][0] <= self._groups:
            change = self._due.popleft()[1]
        if not change.same_as(self._speaking):
            self._speaking = change
            yield change
