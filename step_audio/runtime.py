"""Composition: profile -> parts. The only file that names concrete classes.

Heavy libraries are imported by the part that needs them, when it is first asked for: `check`
starts in a tenth of a second, `tokenize` never loads the LM.
"""

from __future__ import annotations

import hashlib
import logging
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.core.blas import one_blas_thread
from step_audio.core.errors import ProfileError
from step_audio.core.ports import (
    AudioTokenizer,
    Engine,
    Services,
    TextTokenizer,
    ToolBox,
    TurnDetector,
    Vocoder,
    VoiceLibrary,
    VoiceStore,
)
from step_audio.core.profile import (
    LocalEngineSection,
    Profile,
    ScriptedEngineSection,
    VllmEngineSection,
)
from step_audio.core.types import SamplingParams, TextOptions
from step_audio.core.weights import Weights, open_weights
from step_audio.dialog.response.token_stream import TokenTimeouts
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.dialog.tool_calls.background import BackgroundCallSettings

if TYPE_CHECKING:
    from step_audio.voices.library import UserVoices
    from step_audio.voices.making import VoiceMaker

_SPEAKER_GRAPHS: Final = ("vocoder/campplus.onnx", "tokenizer/campplus.onnx")
"""Where the speaker encoder may lie: published beside the flow, nano's beside the tokenizer."""

_log = logging.getLogger(__name__)


class Runtime:
    """The parts of one profile, each built when it is first asked for.

    Every method raises WeightsError when the weights it needs are missing or not as listed.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def services(self) -> Services:
        """Return everything that a server or `ask` needs.

        Raises:
            ProfileError: a cascade without a second model.
            VoiceNotFound: the profile's voice is not among the weights.
        """
        profile = self._profile
        if isinstance(profile.engine, ScriptedEngineSection):
            return self._scripted(profile.engine)
        cascade = profile.responder == "cascade"
        if cascade and profile.speech_engine is None:
            raise ProfileError("responder 'cascade' needs a speech_engine: who reads the answers?")
        voices = self._voices
        return Services(
            model_name=profile.model_name,
            vocab=self._weights.facts.vocab,
            audio_tokenizer=self.audio_tokenizer(),
            text_tokenizer=self._text_tokenizer(),
            engine=self._engine(profile.engine),
            vocoder=self.vocoder(),
            voices=voices,
            voice_library=voices,
            default_voice=voices.get(profile.voice).name,
            tools=self._tools(),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            turn_detector=self.turn_detector(),
            speech_engine=self._engine(profile.speech_engine)
            if cascade and profile.speech_engine
            else None,
        )

    def settings(self) -> DialogSettings:
        """Return what the profile says about answers."""
        profile = self._profile
        sampling = SamplingParams(**profile.sampling.model_dump())
        reading = SamplingParams(**(profile.reading or profile.sampling).model_dump())
        tools = profile.tools
        return DialogSettings(
            **profile.dialog.model_dump(),
            text_options=TextOptions(**profile.text_options.model_dump()),
            responder=profile.responder,
            sampling=sampling,
            reading=reading,
            max_question_s=profile.limits.max_question_s,
            max_prompt_ids=self._context() - sampling.max_tokens,
            mouths=profile.vocoder.max_batch,
            patience=self._patience(),
            dialect=tools.dialect,
            background_calls=BackgroundCallSettings(
                tools.bridge, tools.bridge_after_s, tools.wait_s
            ),
            turns=TurnSettings(
                silence_ms=profile.turn_detector.silence_ms, **profile.turns.model_dump()
            ),
        )

    def _scripted(self, engine: ScriptedEngineSection) -> Services:
        from step_audio import scripted

        return Services(
            model_name=self._profile.model_name,
            vocab=scripted.VOCAB,
            audio_tokenizer=scripted.Counter(),
            text_tokenizer=scripted.Bytes(),
            engine=scripted.Script(engine),
            vocoder=scripted.Tone(),
            voices=scripted.OneVoice(),
            default_voice=scripted.VOICE,
            tools=self._tools(),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            turn_detector=self.turn_detector(),
        )

    def _context(self) -> int:
        """Return the most ids of a sequence."""
        if isinstance(self._profile.engine, ScriptedEngineSection):
            from step_audio import scripted

            return scripted.CONTEXT
        return self._weights.facts.context

    def audio_tokenizer(self) -> AudioTokenizer:
        """Return the ear: `weights`/tokenizer."""
        self._limit_threads()
        from tokenizer.loading import load_tokenizer

        return load_tokenizer(
            self._weights.folder / "tokenizer",
            device=self._profile.tokenizer.device,
            threads=self._profile.threads,
        )

    def turn_detector(self) -> TurnDetector:
        """Return what hears where a turn begins and ends; it needs none of `weights`."""
        from tokenizer.turns import TurnTiming

        settings = self._profile.turn_detector
        timing = TurnTiming(silence_ms=settings.silence_ms)
        if settings.kind == "energy":
            from tokenizer.vad import EnergyTurnDetector

            return EnergyTurnDetector(timing)
        from tokenizer.silero import SileroTurnDetector

        return SileroTurnDetector(timing)

    def vocoder(self) -> Vocoder:
        """Return the voice: `weights`/vocoder, flow and waveform generator."""
        self._limit_threads()
        from vocoder.flow_loading import load_flow
        from vocoder.hift_stream import HiftStream
        from vocoder.loading import load_hift
        from vocoder.stream import ChunkPlan, FlowVocoder

        settings = self._profile.vocoder
        flow = load_flow(self._model("vocoder/flow")).to(settings.device)
        if settings.precision == "bfloat16":
            flow.decoder.estimator.bfloat16()
        hift = load_hift(self._model("vocoder/hift")).to(settings.device)
        return FlowVocoder(
            flow,
            lambda seed: HiftStream(hift, seed),
            plan=ChunkPlan(sizes=settings.chunk_groups),
            n_steps=settings.ode_steps,
            guidance=settings.guidance,
            max_batch=settings.max_batch,
            noise_scale=settings.noise_scale,
        )

    def voices(self) -> VoiceStore:
        """Return the voices: `weights`/voices, then those kept in the profile's folder."""
        return self._voices

    def voice_library(self) -> VoiceLibrary:
        """Return the same voices, to add and remove."""
        return self._voices

    @cached_property
    def _voices(self) -> UserVoices:
        from step_audio.voices.folder import FolderVoices
        from step_audio.voices.library import UserVoices

        parts = [
            f"{name} {file.sha256}"
            for name, file in sorted(self._weights.files.items())
            if name.startswith(("tokenizer/", "vocoder/flow")) or name.endswith("campplus.onnx")
        ]
        return UserVoices(
            FolderVoices(self._weights),
            self._profile.voice_folder,
            self._voice_maker,
            made_with=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        )

    def _voice_maker(self) -> VoiceMaker:
        """Return what makes voices; loaded for the one call, because few are ever made."""
        from step_audio.voices.folder import FolderVoices
        from step_audio.voices.making import VoiceMaker
        from step_audio.voices.speaker_encoder import SpeakerEncoder
        from vocoder.flow_loading import load_flow

        graphs = [n for n in _SPEAKER_GRAPHS if n in self._weights.files]
        encoder = None
        if graphs:
            encoder = SpeakerEncoder(self._weights.path(graphs[0]), self._profile.threads)
        own = FolderVoices(self._weights)
        return VoiceMaker(
            self.audio_tokenizer(),
            load_flow(self._model("vocoder/flow")),
            encoder,
            [own.get(name) for name in own.names()],
        )

    @cached_property
    def _weights(self) -> Weights:
        weights = open_weights(self._profile.weights, self._profile.origin)
        if isinstance(self._profile.engine, LocalEngineSection):
            # Tens of MB: reading them all costs less than a wrong answer.
            weights.verify()
        return weights

    def _model(self, name: str) -> Path:
        """Return a model's file: our own format, else the published one."""
        suffix = ".pt" if f"{name}.pt" in self._weights.files else ".safetensors"
        return self._weights.path(name + suffix)

    def _limit_threads(self) -> None:
        import torch

        one_blas_thread()
        torch.set_num_threads(self._profile.threads)

    def _text_tokenizer(self) -> TextTokenizer:
        from step_audio.engine.text import load_text_tokenizer

        return load_text_tokenizer(self._weights.folder / "lm")

    def _patience(self) -> TokenTimeouts:
        """Return how long to wait for engines: a little longer than those wait themselves."""
        engines = (self._profile.engine, self._profile.speech_engine)
        remote = [engine for engine in engines if isinstance(engine, VllmEngineSection)]
        usual = TokenTimeouts()
        return TokenTimeouts(
            first_s=max([e.first_token_timeout_s + 1 for e in remote], default=usual.first_s),
            next_s=max([e.next_token_timeout_s + 1 for e in remote], default=usual.next_s),
        )

    def _engine(self, settings: LocalEngineSection | VllmEngineSection) -> Engine:
        vocab = self._weights.facts.vocab
        if isinstance(settings, VllmEngineSection):
            from step_audio.engine.vllm import VllmEngine as RemoteEngine

            return RemoteEngine(
                settings.url,
                settings.model,
                vocab,
                first_token_timeout_s=settings.first_token_timeout_s,
                next_token_timeout_s=settings.next_token_timeout_s,
                api_key=settings.api_key.get_secret_value() if settings.api_key else None,
                text_tokenizer=self._text_tokenizer(),
            )
        self._limit_threads()
        from step_audio.engine.local import LocalEngine as Step1Engine
        from step_audio.engine.weights import load_step1

        decoder = load_step1(self._weights.folder / settings.folder).decoder(settings.precision)
        profile = self._profile
        return Step1Engine(
            decoder, vocab, max_streams=profile.limits.max_sessions, threads=profile.threads
        )

    def _tools(self) -> ToolBox:
        from step_audio.nano.tools.toolbox import FakeTools, NanoTools, WallClock
        from step_audio.tools.boxes import ToolBoxes
        from step_audio.tools.mcp import McpAddress, McpTools
        from step_audio.tools.weather import HttpWeather

        settings = self._profile.tools
        weather = HttpWeather(**settings.weather.model_dump()) if settings.weather else None
        own: ToolBox = NanoTools(None, WallClock(), weather=weather)
        if settings.kind == "fake":
            own = FakeTools(settings.seed)
        servers = [
            McpTools(
                McpAddress(
                    name,
                    server.url,
                    server.token.get_secret_value() if server.token else None,
                    None if server.tools is None else frozenset(server.tools),
                    server.timeout_s,
                )
            )
            for name, server in settings.mcp.items()
        ]
        return ToolBoxes([own, *servers], timeout_s=settings.timeout_s)


class MonotonicClock:
    """The machine's steady clock."""

    def now_s(self) -> float:
        """Return seconds since some moment in the past."""
        return time.monotonic()


class LogRecorder:
    """Metrics to the log, at level DEBUG."""

    def observe(self, name: str, value: float) -> None:
        """Log one value."""
        _log.debug("metric", extra={"metric": name, "value": value})
