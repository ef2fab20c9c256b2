"""`ask`: one answer, through the same runner as the server."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from step_audio.cli.output import prepare
from step_audio.cli.parts import CommandParts, Load
from step_audio.cli.roles import say_not_applied
from step_audio.cli.sound_files import format_of, read, write_sound
from step_audio.core.config import load_profile
from step_audio.core.delivery import open_delivery
from step_audio.core.errors import EngineError
from step_audio.core.ports import RemoteTools, ToolBox
from step_audio.core.types import AudioChunk, Pcm, TextDelta, ToolCall, Transcript
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.role_play.role import Role
from step_audio.dialog.speakable.style_tags import PLAIN


def ask(args: argparse.Namespace, load: Load) -> int:
    """Write the spoken answer to a spoken question; print what was heard and said."""
    profile = load_profile(args.profile)
    format_of(args.output)
    prepare(args.output)
    pcm, rate_hz = read(args.question, profile.limits.max_question_s)
    reply = asyncio.run(_ask(load(profile), pcm, rate_hz, args))
    write_sound([(reply.sound(), reply.rate_hz)], args.output)
    if args.json:
        print(json.dumps(reply.facts(), ensure_ascii=False))
    else:
        print(f"heard: {reply.heard}\nanswer: {reply.text}")
    return 0


@dataclass
class SpokenReply:
    """What came back, with its times. `start_s` is the end of the question."""

    start_s: float
    rate_hz: int = 0
    heard: str = ""
    text: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    chunks: list[Pcm] = field(default_factory=list)
    first_audio_s: float = 0.0
    end_s: float = 0.0

    def add(self, event: AnswerEvent, now_s: float) -> None:
        self.end_s = now_s
        match event:
            case Transcript(text):
                self.heard = text
            case TextDelta(text):
                self.text += text
            case ToolCall(_, name, arguments):
                self.calls.append({"name": name, "arguments": arguments})
            case AudioChunk(pcm, rate_hz):
                if not self.chunks:
                    self.first_audio_s = now_s
                self.chunks.append(pcm)
                self.rate_hz = rate_hz

    def sound(self) -> Pcm:
        """Return all samples. Raises EngineError: there are none."""
        if not self.chunks:
            raise EngineError(f"the model answered without sound: {self.text or 'nothing'}")
        return np.concatenate(self.chunks)

    def facts(self) -> dict[str, Any]:
        """Return what `--json` prints. `rtf`: time from question to last sound / its length."""
        seconds = sum(len(pcm) for pcm in self.chunks) / self.rate_hz
        return {
            "heard": self.heard,
            "text": self.text,
            "calls": self.calls,
            "first_audio_ms": round((self.first_audio_s - self.start_s) * 1000, 1),
            "rtf": round((self.end_s - self.start_s) / seconds, 3),
            "seconds": round(seconds, 3),
        }


async def _ask(
    parts: CommandParts, pcm: Pcm, rate_hz: int, args: argparse.Namespace
) -> SpokenReply:
    async with assistant_of(parts, args.seed) as assistant, reached(assistant.services.tools):
        if args.role is None:
            return await answer(assistant, pcm, rate_hz, args.voice)
        role, reach = assistant.role(args.role), assistant.style_reach
        voice = args.voice or _voice_of(role, assistant)
        reply = await answer(assistant, pcm, rate_hz, voice, role=role)
        say_not_applied(role.not_applied(reach))
        if not reach.tags and reply.chunks:
            manner = open_delivery(reply.rate_hz, speed=role.style.speed, volume=role.style.volume)
            reply.chunks = [np.concatenate([*manner.push(reply.sound()), *manner.flush()])]
        return reply


def _voice_of(role: Role, assistant: Assistant) -> str | None:
    """Return the first voice of a role's card that there is."""
    known = assistant.services.voices.names()
    return next((name for name in (role.card.voice if role.card else ()) if name in known), None)


@asynccontextmanager
async def reached(tools: ToolBox) -> AsyncIterator[None]:
    """Reach a box of tools that are elsewhere, and leave it at the end."""
    if not isinstance(tools, RemoteTools):
        yield
        return
    await tools.start()
    try:
        yield
    finally:
        await tools.aclose()


async def answer(
    assistant: Assistant,
    pcm: Pcm,
    rate_hz: int,
    voice: str | None = None,
    conversation: Conversation | None = None,
    *,
    role: Role | None = None,
    aloud: bool = True,
) -> SpokenReply:
    """Ask one spoken question, (T,) at `rate_hz`, in a fresh conversation or the one given.

    Args:
        role: who answers; what its manner does to the sound is left to the caller.
        aloud: False leaves the sound out.
    """
    clock = assistant.services.clock
    question = assistant.question(rate_hz)
    # A microphone would have delivered all of this while the person still spoke.
    await assistant.listen(question, pcm)
    reply = SpokenReply(clock.now_s())
    conversation = Conversation() if conversation is None else conversation
    item_id = f"question_{len(conversation)}"
    conversation.add(UserAudio.spoken(item_id, await assistant.finish(question)))
    reach = assistant.style_reach
    async for event in assistant.answer(
        conversation,
        voice=voice,
        style=role.spoken(reach) if role else PLAIN,
        style_lines=role.lines(reach) if role else "",
        exchange=role.exchange if role else None,
        aloud=aloud,
    ):
        reply.add(event, clock.now_s())
    return reply


@asynccontextmanager
async def assistant_of(parts: CommandParts, seed: int | None) -> AsyncIterator[Assistant]:
    """Give an assistant whose ids are drawn from a seed; closed at the end."""
    settings = parts.settings()
    if seed is not None:
        settings = replace(
            settings,
            sampling=replace(settings.sampling, seed=seed),
            reading=replace(settings.reading, seed=seed),
        )
    assistant = Assistant(parts.services(), settings)
    try:
        yield assistant
    finally:
        await assistant.aclose()
