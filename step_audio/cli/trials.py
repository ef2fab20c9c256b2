"""What `doctor` tries with whole models: a spoken round trip, and which form prompts have.

Both tell the first user of a set of weights what no file says: whether what is spoken is what was
written, and how the checkpoint was shown headers in its training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import product
from typing import Final, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from step_audio.cli.findings import Finding
from step_audio.cli.parts import CommandParts
from step_audio.core.error_rates import error_rate
from step_audio.core.errors import StepAudioError
from step_audio.core.ports import Services
from step_audio.core.profile import Profile
from step_audio.core.types import Pcm, Voice
from step_audio.core.vocab import HeaderIds
from step_audio.core.weights import FACTS, open_weights, record_more, write_facts
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tts_prompts import tts_system_prompt
from step_audio.dialog.transcription import RecordingTranscriber

SENTENCES: Final = {
    "zh": "今天天气真的很好，我们去海边走走吧。",
    "en": "It is a fine day for a walk by the sea.",
}
_FAIR: Final = 0.2
_SLOWEST_S: Final = 0.6
"""Error rate of a round trip up to which all is well; seconds a unit of speech may take."""
_CLEAR: Final = 0.02
"""Nats an id by which one form must be likelier than the next to be written down."""

Roles = Literal["spaced", "bare", "bos"]
CANDIDATES: Final = tuple(
    HeaderIds(bos=bos, roles=roles) for bos, roles in product((True, False), get_args(Roles))
)


@runtime_checkable
class ScoringEngine(Protocol):
    """An engine that can say how likely given ids are."""

    async def log_likelihood(self, prompt: Sequence[int], begin: int) -> float:
        """Return the mean log-probability of the ids from `begin` on. Raises EngineError."""


async def round_trip(parts: CommandParts, profile: Profile) -> list[Finding]:
    """Say a sentence and, where the profile can, write down what was said."""
    assistant = Assistant(parts.services(), parts.settings())
    findings: list[Finding] = []
    try:
        languages = [name for name in profile.dialog.languages or ("en",) if name in SENTENCES]
        for language in languages:
            findings.append(await _said_and_heard(assistant, SENTENCES[language], language))
    finally:
        await assistant.aclose()
    return findings


async def _said_and_heard(assistant: Assistant, text: str, language: str) -> Finding:
    subject = f"Spoken round trip ({language})"
    try:
        sound, rate_hz = await spoken(assistant, text)
        seconds = len(sound) / rate_hz
        if not assistant.transcribes:
            fact = f"{seconds:.1f} s of sound; this profile has nobody to write it down"
            odd = not 0.5 <= seconds <= _SLOWEST_S * len(text)
            advice = "too long or too short: try `doctor --prompts`" if odd else "listen to `say`"
            return Finding(subject, "wrong" if odd else "note", fact, advice)
        heard = await RecordingTranscriber(assistant).transcribe(sound, rate_hz)
    except StepAudioError as error:
        return Finding(subject, "wrong", " ".join(str(error).split()))
    rate = error_rate(text, heard)
    fact = f"{rate:.0%} of the words or characters are wrong: heard {heard[:80]!r}"
    advice = "" if rate <= _FAIR else "try `doctor --prompts`, then listen to `say`"
    return Finding(subject, "ok" if rate <= _FAIR else "wrong", fact, advice)


async def spoken(assistant: Assistant, text: str, voice: str | None = None) -> tuple[Pcm, int]:
    """Return a text read aloud, (T,), and its rate. Raises VoiceNotFound, EngineError."""
    chunks, rate_hz = [], assistant.services.vocoder.sample_rate_hz
    async with aclosing(assistant.say(text, voice)) as said:
        async for chunk in said:
            chunks.append(chunk.pcm)
            rate_hz = chunk.rate_hz
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32), rate_hz


async def measure_prompts(parts: CommandParts, profile: Profile) -> list[Finding]:
    """Measure which form of prompts makes a known example likeliest, and write it down.

    The example is the one of the profile's voice: its codes, asked for by its words as the
    published script does, and its words, asked for by its sound and the prompt for transcripts.
    """
    assistant = Assistant(parts.services(), parts.settings())
    services = assistant.services
    findings: list[Finding] = []
    measured: dict[str, HeaderIds] = {}
    try:
        voice = services.voices.get(services.default_voice)
        for name, engine, known in _trials(services, profile, voice):
            if not isinstance(engine, ScoringEngine):
                findings.append(Finding(name, "note", "this engine cannot say how likely ids are"))
                continue
            scores = {
                headers: await engine.log_likelihood(*known(headers)) for headers in CANDIDATES
            }
            best = max(scores, key=lambda headers: scores[headers])
            findings.append(_judged(name, scores, best, _now(services, name)))
            if _margin(scores) >= _CLEAR:
                measured[name] = best
    except StepAudioError as error:
        findings.append(Finding("Prompts", "wrong", " ".join(str(error).split())))
    finally:
        await assistant.aclose()
    if measured:
        weights = open_weights(profile.weights, profile.origin)
        facts = replace(
            weights.facts,
            chat_headers=measured.get("chat_headers", weights.facts.chat_headers),
            speech_headers=measured.get("speech_headers", weights.facts.speech_headers),
        )
        write_facts(weights.folder, facts)
        record_more(weights.folder, [FACTS])
    return findings


def _trials(
    services: Services, profile: Profile, voice: Voice
) -> Iterator[tuple[str, object, _Known]]:
    """Yield the fact to be measured, the engine, and the known example in any form."""
    example = Turn("assistant", (Audio(voice.prompt_groups),))
    if profile.responder != "direct" and voice.prompt_groups:
        system = Text(tts_system_prompt(voice.prompt_text, voice.speaker))
        asked = (Turn("system", (system,)), Turn("human", (Text(voice.prompt_text),)))
        engine = services.speech_engine or services.engine
        yield "speech_headers", engine, _Known(services, asked, example)
    itself = profile.responder in ("cascade", "direct")  # else somebody else hears
    if itself and profile.dialog.transcribe_prompt and voice.prompt_groups:
        system = Text(load_prompt(profile.dialog.transcribe_prompt))
        heard = Turn("human", (Audio(voice.prompt_groups),))
        written = Turn("assistant", (Text(voice.prompt_text),))
        asked = (Turn("system", (system,)), heard)
        yield "chat_headers", services.engine, _Known(services, asked, written)


class _Known:
    """A prompt whose answer is known, in any form of headers."""

    def __init__(self, services: Services, asked: Sequence[Turn], answer: Turn) -> None:
        self._services, self._asked, self._answer = services, asked, answer

    def __call__(self, headers: HeaderIds) -> tuple[list[int], int]:
        """Return the ids of prompt and answer, and where the answer begins."""
        services = self._services
        builder = PromptBuilder(services.text_tokenizer, services.vocab, chat_headers=headers)
        prompt = builder.chat(self._asked)
        return [*prompt, *builder.content(self._answer.parts)], len(prompt)


def _now(services: Services, name: str) -> HeaderIds:
    return services.speech_headers if name == "speech_headers" else services.chat_headers


def _margin(scores: Mapping[HeaderIds, float]) -> float:
    """Return by how much the likeliest form leads."""
    first, second, *_ = sorted(scores.values(), reverse=True)
    return first - second


def _judged(
    name: str, scores: Mapping[HeaderIds, float], best: HeaderIds, now: HeaderIds
) -> Finding:
    listed = ", ".join(
        f"{'<s> and ' if headers.bos else ''}{headers.roles} {score:.3f}"
        for headers, score in sorted(scores.items(), key=lambda item: -item[1])
    )
    fact = f"log-probability an id: {listed}"
    if _margin(scores) < _CLEAR:
        return Finding(name, "note", fact, "too close to tell; nothing was changed")
    if best == now:
        return Finding(name, "ok", fact)
    return Finding(name, "note", fact, f"{FACTS} now says so; start `serve` again")
