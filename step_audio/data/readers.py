"""Who says a line: machine voices of Debian, a profile of this project, a voice to clone, or any
OpenAI-compatible speech endpoint.

A reader that cannot do what a tag asks for says so; the line is then a failure with a reason, not
a sound with a wrong label.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import httpx
import numpy as np

from step_audio.core.audio import check_sound
from step_audio.core.errors import InputError
from step_audio.core.ports import Services
from step_audio.core.types import BATCH, GenerationRequest, Pcm, SamplingParams, TokenGroup, Voice
from step_audio.data.llm import EndpointError, refusal
from step_audio.data.manifest import TextLine
from step_audio.data.speakers import Speaker, draw_training_speaker, speaker
from step_audio.data.synthesis import synthesize
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.response.parser import TokenParser
from step_audio.dialog.response.readings import Readings
from step_audio.dialog.response.synthesizer import SpeechSynthesizer

MAX_REPLY_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A sound, who said it and how it was made."""

    pcm: Pcm
    rate_hz: int
    speaker: str
    source: Mapping[str, Any]


class LineReader(Protocol):
    """Says lines; threads may share it.

    Raises:
        StepAudioError: this line cannot be said; the message is the reason.
    """

    def read(self, line: TextLine) -> SpokenLine: ...


class MachineReader:
    """The Debian engines: for "user" a training voice drawn by the line, else `assistant`.

    Speed is a factor of the engine; emotions, styles, dialects and singing are refused.
    """

    def __init__(self, assistant: str = "flite-rms") -> None:
        self._assistant = speaker(assistant)

    def read(self, line: TextLine) -> SpokenLine:
        """Return the sound of a line. Raises InputError: a tag it cannot do; SynthesisError."""
        tags = line.tags
        refused = [w for w in (tags.emotion, tags.style, tags.dialect, tags.singing) if w]
        if refused:
            raise InputError(f"machine voices cannot do {', '.join(refused)}")
        who, pitch = self._who(line)
        pcm, rate_hz = synthesize(line.text, who, rate=tags.rate, pitch=pitch)
        source = {"engine": who.engine, "voice": who.voice, "licence": who.licence}
        return SpokenLine(pcm, rate_hz, who.name, {**source, "rate": tags.rate, "pitch": pitch})

    def _who(self, line: TextLine) -> tuple[Speaker, float]:
        if line.voice == "assistant":
            return self._assistant, 1.0
        if line.voice != "user":
            return speaker(line.voice), 1.0
        rng = np.random.default_rng(int(line.id[:15], 16))
        return draw_training_speaker(rng), round(float(rng.uniform(0.85, 1.15)), 3)


class EndpointReader:
    """Any server with `POST /v1/audio/speech`, this project's own included.

    Args:
        url: up to and with `/v1`.
        voices: who speaks for "user" (one is drawn by the line) and "assistant".
        tagged: the model understands tags; they are put in front of the text.
    """

    def __init__(
        self,
        url: str,
        model: str,
        voices: Mapping[str, Sequence[str]],
        *,
        tagged: bool = False,
        key: str = "",
        timeout_s: float = 120.0,
    ) -> None:
        self._url, self._model, self._voices = url.rstrip("/"), model, voices
        self._tagged, self._key, self._timeout_s = tagged, key, timeout_s

    def read(self, line: TextLine) -> SpokenLine:
        """Return the sound of a line. Raises EndpointError, AudioError, InputError."""
        if line.tags.prefix() and not self._tagged:
            raise InputError(f"{self._model} was not said to understand {line.tags.prefix()}")
        voice = draw_voice(line, self._voices)
        text = line.tags.prefix() + line.text
        body = {"model": self._model, "input": text, "voice": voice, "response_format": "wav"}
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        where = f"{self._url}/audio/speech"
        try:
            answer = httpx.post(where, json=body, headers=headers, timeout=self._timeout_s)
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise refusal(where, error.response, self._key) from None
        except httpx.HTTPError as error:
            raise EndpointError(f"{where}: {error}") from None
        pcm, rate_hz = _decode(answer.content, where)
        source = {"engine": "endpoint", "model": self._model, "voice": voice}
        return SpokenLine(pcm, rate_hz, voice, source)


class ProfileReader:
    """A profile of this project reads: its LM, its vocoder, its voices. `close` it afterwards.

    Args:
        services: its parts.
        voices: see `EndpointReader`.
        sampling: how ids are drawn; the seed is taken from the line.
        clone: the prompt is [system; example text and target text; example sound ...], and the
            model goes on speaking in the example's voice. Voices need an example for it.
        system: system prompt of the clone layout.
    """

    def __init__(
        self,
        services: Services,
        voices: Mapping[str, Sequence[str]],
        sampling: SamplingParams,
        *,
        clone: bool = False,
        system: str = "tts_any_voice",
    ) -> None:
        self._services, self._voices, self._sampling = services, voices, sampling
        self._builder = PromptBuilder(
            services.text_tokenizer,
            services.vocab,
            chat_headers=services.chat_headers,
            speech_headers=services.speech_headers,
        )
        self._clone, self._system = clone, system
        self._lock = threading.Lock()
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """End the engine's loop; nothing is read afterwards."""
        self._runner.close()

    def read(self, line: TextLine) -> SpokenLine:
        """Return the sound of a line. Raises InputError: no example to clone; EngineError."""
        name = draw_voice(line, self._voices)
        voice = self._services.voices.get(name)
        if self._clone and not voice.prompt_groups:
            raise InputError(f"voice {name} has no example to clone")
        seed = int(line.id[:8], 16)
        text = line.tags.prefix() + line.text
        # One at a time: the engine's loop belongs to one thread.
        with self._lock:
            groups = self._runner.run(self._groups(text, voice, seed, line.id))
        if not groups:
            raise InputError(f"{self._services.model_name} said nothing")
        stage = self._services.vocoder.open(voice, seed=seed)
        pieces = [piece for group in groups for piece in stage.push(group)]
        pcm = np.concatenate([*pieces, *stage.flush()])
        source = {
            "engine": "clone" if self._clone else "profile",
            "model": self._services.model_name,
            "voice": name,
            "seed": seed,
        }
        return SpokenLine(pcm, self._services.vocoder.sample_rate_hz, name, source)

    async def _groups(self, text: str, voice: Voice, seed: int, name: str) -> list[TokenGroup]:
        sampling = replace(self._sampling, seed=seed)
        if self._clone:
            made = self._continued(text, voice, sampling, name)
        else:
            synthesizer = SpeechSynthesizer(self._services, lambda: name)
            readings = Readings()
            made = synthesizer.read(readings.whole(text, readings.answer_reader()), voice, sampling)
        async with aclosing(made) as found:
            return [group async for group in found]

    async def _continued(
        self, text: str, voice: Voice, sampling: SamplingParams, name: str
    ) -> AsyncGenerator[TokenGroup, None]:
        vocab = self._services.vocab
        request = GenerationRequest(
            prompt=tuple(continuation(self._builder, vocab.bos, self._system, text, voice)),
            sampling=sampling,
            stop_ids=vocab.stop_ids,
            request_id=name,
            form="speech",
            priority=BATCH,
        )
        parser = TokenParser(self._services.text_tokenizer, vocab, lambda: name)
        async for token_id in self._services.engine.generate(request):
            for event in parser.push(token_id):
                if isinstance(event, TokenGroup):
                    yield event


def continuation(
    builder: PromptBuilder, bos: int, system: str, text: str, voice: Voice
) -> list[int]:
    """Return the clone-and-continue prompt: both texts asked for, the example already spoken.

    The model goes on after the example's last group, in its voice. Source: Step-Audio report,
    arXiv:2502.11946, on its data engine.
    """
    turns = (
        Turn("system", (Text(load_prompt(system)),)),
        Turn("human", (Text(voice.prompt_text + text),)),
    )
    spoken = builder.content((Audio(voice.prompt_groups),))
    return [bos, *builder.chat(turns), *spoken]


def draw_voice(line: TextLine, voices: Mapping[str, Sequence[str]]) -> str:
    """Return who says a line: its own voice, or one drawn from those of its role."""
    names = voices.get(line.voice)
    if names is None:
        return line.voice
    if not names:
        raise InputError(f"no voice is given for {line.voice}; see --voices")
    return names[int(line.id[:15], 16) % len(names)]


def _decode(content: bytes, where: str) -> tuple[Pcm, int]:
    import soundfile  # noqa: PLC0415 - only this reader decodes

    if len(content) > MAX_REPLY_BYTES:
        raise EndpointError(f"{where} sent more than {MAX_REPLY_BYTES} bytes")
    try:
        pcm, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise EndpointError(f"{where} sent no sound that can be read") from None
    mono: Pcm = pcm.mean(axis=1, dtype=np.float32)
    check_sound(mono, where)
    return mono, int(rate_hz)
