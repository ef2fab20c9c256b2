"""A profile in this process as an examinee of `eval`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from step_audio.cli.parts import CommandParts
from step_audio.cli.speech import SpokenReply, answer
from step_audio.core.ports import Services, ToolSpec, VoiceStore
from step_audio.core.profile import Profile
from step_audio.core.types import Pcm, ToolCall, ToolResult, Voice
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.transcription import RecordingTranscriber
from step_audio.eval.examinee import AnswerRecord, AskedTurn


def record_of(reply: SpokenReply) -> AnswerRecord:
    """Return an answer as evaluations keep it."""
    calls = tuple(
        ToolCall(str(at), call["name"], call["arguments"]) for at, call in enumerate(reply.calls)
    )
    if not reply.chunks:
        return AnswerRecord(reply.heard, reply.text, calls)
    facts = reply.facts()
    return AnswerRecord(
        reply.heard,
        reply.text,
        calls,
        reply.sound(),
        reply.rate_hz,
        facts["first_audio_ms"],
        facts["rtf"],
    )


def fixed_seed(profile: Profile) -> Profile:
    """Return the profile with a seed: a report says the same when it is made again."""
    if profile.sampling.seed is not None:
        return profile
    return profile.model_copy(update={"sampling": profile.sampling.model_copy(update={"seed": 0})})


class ProfileExaminee:
    """The parts of a profile; `Examinee` says what its methods do.

    Args:
        parts: the profile's, with `fixed_seed`.
        tools: what a set offers instead of the profile's tools.
        places: questions side by side; `limits.max_sessions` at most.
    """

    clones = True

    def __init__(
        self,
        parts: CommandParts,
        profile: Profile,
        *,
        tools: Sequence[ToolSpec] = (),
        places: int | None = None,
    ) -> None:
        self.name, most = profile.model_name, profile.limits.max_sessions
        self.places = most if places is None else min(places, most)
        self._parts = parts
        services = parts.services()
        self._voices = _ExampleVoices(services.voices)
        services = replace(services, voices=self._voices)
        if tools:
            services = replace(services, tools=_ListedTools(tools))
        self._assistant = Assistant(services, parts.settings())

    @property
    def services(self) -> Services:
        """What it is built of."""
        return self._assistant.services

    async def answer(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec] = ()
    ) -> list[AnswerRecord]:
        """Answer in one conversation; the tools are those of its making."""
        conversation = Conversation()
        records = []
        for turn in turns:
            if turn.pcm is None:
                reply = await self._typed(conversation, turn.text)
            else:
                reply = await answer(
                    self._assistant, turn.pcm, turn.rate_hz, conversation=conversation
                )
            records.append(record_of(reply))
        return records

    async def transcribe(self, pcm: Pcm, rate_hz: int, language: str) -> str:
        """Write down what is said, by whoever hears in the profile."""
        return await RecordingTranscriber(self._assistant).transcribe(pcm, rate_hz)

    async def speak(
        self, text: str, example: tuple[Pcm, int] | None, example_text: str
    ) -> tuple[Pcm, int]:
        """Read aloud; an example becomes a voice for the one sentence."""
        name = None
        if example is not None:
            name = f"example_{new_id()}"
            maker = await asyncio.to_thread(self._parts.voice_maker)
            voice, _ = await asyncio.to_thread(maker.make, name, example_text, *example)
            self._voices.made[name] = voice
        try:
            chunks = [chunk async for chunk in self._assistant.say(text, name)]
        finally:
            if name is not None:
                del self._voices.made[name]
        if not chunks:
            return np.zeros(0, dtype=np.float32), self.services.vocoder.sample_rate_hz
        return np.concatenate([chunk.pcm for chunk in chunks]), chunks[0].rate_hz

    async def aclose(self) -> None:
        """Close the assistant."""
        await self._assistant.aclose()

    async def _typed(self, conversation: Conversation, text: str) -> SpokenReply:
        clock = self.services.clock
        conversation.add(Typed(f"question_{len(conversation)}", "human", text))
        reply = SpokenReply(clock.now_s())
        async for event in self._assistant.answer(conversation):
            reply.add(event, clock.now_s())
        return reply


class _ExampleVoices:
    """The voices of the profile, and those that were made of a set's examples."""

    def __init__(self, own: VoiceStore) -> None:
        self._own = own
        self.made: dict[str, Voice] = {}

    def get(self, name: str) -> Voice:
        """Return a voice. Raises VoiceNotFound."""
        return self.made[name] if name in self.made else self._own.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the profile's own."""
        return self._own.names()


class _ListedTools:
    """Tools that a set names: they are offered, and every call gives an empty object."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._tools = tuple(tools)

    def specs(self) -> Sequence[ToolSpec]:
        """Return them."""
        return self._tools

    async def call(self, call: ToolCall) -> ToolResult:
        """Return nothing of use: the call itself is what is marked."""
        return ToolResult(call.call_id, call.name, "{}")
