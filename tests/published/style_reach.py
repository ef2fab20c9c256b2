"""What becomes of every style, profile by profile, as it reaches the model that makes the sound.

Measured at that model's door, with shipped profiles around scripted engines: which text its prompt
ends with, what the instructions of a model that speaks itself say, how long and how loud the sound
is. Nothing here says what a model makes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from server.realtime.wire.style import SessionStyle
from step_audio.core.config import load_profile
from step_audio.core.errors import CannotSing
from step_audio.core.types import AudioChunk, Pcm, TextDelta
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable import style_tags
from tests.fakes import (
    DUMMY_PREFIX,
    VOCAB,
    ScriptedChat,
    ScriptedEngine,
    SineVocoder,
    group,
    services,
    text_ids,
)

PROFILES: Final = ("nano", "tts-3b", "chat-130b", "aqaa-130b", "one-gpu", "local-chat")
TALKING: Final = tuple(name for name in PROFILES if name != "tts-3b")
WRITING: Final = ("chat-130b", "one-gpu", "local-chat")
"""Profiles whose answers are read aloud by a second model."""
ANSWERING: Final = ("nano", *WRITING)
"""Profiles in whose answers tags are taken out."""
WISHES: Final[tuple[tuple[str, object], ...]] = (
    ("role", "a pirate"),
    ("emotion", "happy"),
    ("emotion", "sad"),
    ("emotion", "bored"),
    ("dialect", "四川话"),
    ("dialect", "粤语"),
    ("dialect", "闽南语"),
    ("mode", "rap"),
    ("mode", "sing"),
    *(("speed", level) for level in (1, 2, 4, 5)),
    *(("loudness", level) for level in (1, 2, 4, 5)),
)
"""Every key of `style`, with words that have a tag and words that have none, and every level."""
TAGS: Final = tuple(names.split()[0] for _, names in style_tags._STYLES)
"""One name of every style that a text can ask for."""
SENTENCE: Final = "It is noon."
_GROUPS: Final = [group(n) for n in range(8)]
_SINGS: Final = ("tts-3b", "chat-130b", "aqaa-130b", "one-gpu")
"""Profiles whose `weights download` brings a second vocoder."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of a wish.

    Attributes:
        tags: of the published speech model, in front of the sentence that it reads.
        ids: how many ids they are there, each character counted by itself; 0 for none.
        words: whether the model that answers was told in words.
        speaks_itself: whether that is the model that makes the sound.
        speed, volume: factors on the sound.
        manner: that the vocoder was opened in; "" for none.
        applied: what a session is told; None where nothing is told.
        refused: code of the error; "" for none.
    """

    tags: str = ""
    ids: int = 0
    words: bool = False
    speaks_itself: bool = False
    speed: float = 1.0
    volume: float = 1.0
    manner: str = ""
    applied: bool | None = None
    refused: str = ""

    @property
    def heard(self) -> bool:
        """Whether the sound is another, as far as it is in our hands."""
        told = bool(self.tags) or (self.words and self.speaks_itself)
        return told or bool(self.manner) or self.speed != 1.0 or self.volume != 1.0

    def __str__(self) -> str:
        """Return the cell of a table."""
        if self.refused:
            return f"refused, `{self.refused}`"
        parts = [f"`{self.tags}`"] if self.tags else []
        if self.words:
            who = "the model" if self.speaks_itself else "the writer alone"
            parts.append(f"words to {who}")
        parts += [f"in the voice: {self.manner}"] if self.manner else []
        parts += [f"speed ×{self.speed:.3g}"] if self.speed != 1.0 else []
        parts += [f"volume ×{self.volume:.3g}"] if self.volume != 1.0 else []
        said = ", ".join(parts) or "nothing"
        return said if self.applied is None else f"{said}: {'yes' if self.applied else 'no'}"


class _Deployed:
    """A shipped profile around engines whose answers are fixed; notes what they are asked."""

    def __init__(self, profile: str, written: str = SENTENCE) -> None:
        shipped = load_profile(profile, {})
        spoken = VOCAB.ids(_GROUPS)
        self.reader = ScriptedEngine([spoken])
        self.writer: ScriptedEngine | ScriptedChat
        parts = services(self.reader)
        match shipped.responder:
            case "chat":
                self.writer = chat = ScriptedChat([[TextDelta(written)]])
                parts = replace(parts, chat_model=chat)
            case "cascade":
                self.writer = engine = ScriptedEngine([text_ids(written)])
                parts = replace(parts, engine=engine, speech_engine=self.reader)
            case _:
                answer = interleave(text_ids(written), _GROUPS, VOCAB)
                talks = shipped.responder == "direct"
                self.writer = self.reader = ScriptedEngine([answer if talks else spoken])
                parts = replace(parts, engine=self.reader)
        self.manners: list[tuple[str, ...]] = []
        if shipped.dialog.manners:
            parts = replace(parts, in_manner=self._in_manner)
        if profile in _SINGS:
            parts = replace(parts, singing_vocoder=SineVocoder())
        dialog = shipped.dialog.model_dump()
        settings = DialogSettings(**dialog, responder=shipped.responder)
        self.assistant = Assistant(parts, settings)

    def _in_manner(self, names: tuple[str, ...]) -> SineVocoder:
        self.manners.append(names)
        return SineVocoder()

    @property
    def manner(self) -> str:
        """The manners that the vocoder was opened in."""
        return ", ".join(dict.fromkeys(name for names in self.manners for name in names))

    def door(self) -> tuple[str, int]:
        """Return the tags that the newest sentence had at the sound model, and their ids."""
        prompt = self.reader.requests[-1].prompt
        begin = max(at for at, token_id in enumerate(prompt[:-2]) if token_id == VOCAB.eot)
        turns = [t for t in _turns(prompt[: begin + 1]) if t.startswith("human\n")]
        asked = turns[-1].removeprefix("human\n") if turns else ""
        tags = asked[: asked.rfind(")") + 1] if asked.startswith("(") else ""
        return tags, len(text_ids(tags)) if tags else 0

    def in_words(self, *lines: str) -> bool:
        """Whether all lines of a style, or of an exchange that sets a role, stand in what the model
        that answers was told."""
        if isinstance(self.writer, ScriptedChat):
            told = self.writer.requests[-1].messages[0].text
        else:
            told = "".join(_turns(self.writer.requests[-1].prompt))
        wanted = [line for part in lines for line in part.splitlines()]
        return bool(wanted) and all(line in told for line in wanted)


def _turns(prompt: Sequence[int]) -> Iterator[str]:
    """Yield the text of each turn, sound left out."""
    turn: list[int] = []
    for token_id in prompt:
        if token_id == VOCAB.eot:
            yield bytes(turn).decode(errors="replace")
            turn = []
        elif token_id != DUMMY_PREFIX and 300 <= token_id < 556:
            turn.append(token_id - 300)
    yield bytes(turn).decode(errors="replace")


@cache
def in_session(profile: str, name: str, wish: object) -> Reached:
    """Return what comes of a wish in `style` of a session or a response."""
    deployed = _Deployed(profile)
    helper = deployed.assistant
    given = {name: helper.role(str(wish)) if name == "role" else wish}
    style = SessionStyle(**given)  # type: ignore[arg-type]
    reach = helper.style_reach

    async def answered() -> None:
        conversation = Conversation()
        conversation.add(Typed("q", "human", "what now"))
        told, lines = style.spoken(reach), style.lines(reach)
        events = helper.answer(conversation, style=told, style_lines=lines, exchange=style.exchange)
        async with aclosing(events):
            async for _ in events:
                pass
        await helper.aclose()

    asyncio.run(answered())
    tags, ids = ("", 0) if reach.speaks_itself else deployed.door()
    return Reached(
        tags,
        ids,
        deployed.in_words(style.lines(reach)) or deployed.in_words(*(style.exchange or ())),
        reach.speaks_itself,
        style.speed_factor(reach),
        style.volume_factor,
        deployed.manner,
        name in style.wire(reach)["applied"],
    )


@cache
def in_text(profile: str, tag: str) -> Reached:
    """Return what comes of a tag in a text that is read aloud."""
    try:
        return _measured(profile, f"({tag}){SENTENCE}")
    except CannotSing as error:
        return Reached(refused=error.code)


def _measured(profile: str, text: str) -> Reached:
    plain, tagged = _Deployed(profile), _Deployed(profile)
    usual = asyncio.run(_sound(plain.assistant, SENTENCE))
    sound = asyncio.run(_sound(tagged.assistant, text))
    tags, ids = tagged.door()
    speed, volume = len(usual) / len(sound), _louder(sound, usual)
    volume = round(float(volume), 2)
    return Reached(tags, ids, speed=round(speed, 2), volume=volume, manner=tagged.manner)


async def _sound(assistant: Assistant, text: str) -> Pcm:
    chunks = [chunk.pcm async for chunk in assistant.say(text)]
    await assistant.aclose()
    return np.concatenate(chunks)


@cache
def in_answer(profile: str, tag: str) -> Reached:
    """Return what comes of a tag that the model writes which answers."""
    plain, deployed = _Deployed(profile), _Deployed(profile, f"({tag}){SENTENCE}")
    _, usual = asyncio.run(_answer(plain.assistant))
    shown, sound = asyncio.run(_answer(deployed.assistant))
    assert shown == SENTENCE, "tags are neither shown nor read"
    tags, ids = deployed.door() if profile in WRITING else ("", 0)
    speed, volume = len(usual) / len(sound), _louder(sound, usual)
    return Reached(
        tags, ids, speed=round(speed, 2), volume=round(volume, 2), manner=deployed.manner
    )


async def _answer(assistant: Assistant) -> tuple[str, Pcm]:
    conversation = Conversation()
    conversation.add(Typed("q", "human", "what now"))
    events = [event async for event in assistant.answer(conversation)]
    await assistant.aclose()
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    return shown, np.concatenate([e.pcm for e in events if isinstance(e, AudioChunk)])


def _louder(sound: Pcm, usual: Pcm) -> float:
    """Return the factor between two tones: by their peaks, or where those are bent (0.8 and above)
    by their middle levels."""
    peak = np.abs(sound).max()
    if peak < 0.8:
        return float(peak / np.abs(usual).max())
    return float(np.median(np.abs(sound)) / np.median(np.abs(usual)))
