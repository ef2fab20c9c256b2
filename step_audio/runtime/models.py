"""The models of a profile's weights: what hears, what answers, what speaks, and its voices."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.core.blas import one_blas_thread
from step_audio.core.errors import VoiceNotFound
from step_audio.core.ports import (
    AudioTokenizer,
    ChunkSizes,
    Engine,
    Stage,
    TextTokenizer,
    Vocoder,
    VoiceLibrary,
    VoiceStore,
)
from step_audio.core.profile import LocalEngineSection, Profile, VllmEngineSection
from step_audio.core.types import Pcm, TokenGroup, Voice
from step_audio.core.vocab import Vocab
from step_audio.core.weights import Weights, open_weights

if TYPE_CHECKING:
    from step_audio.eval.packaged_encoder import PackagedSpeakerEncoder
    from step_audio.voices.library import UserVoices
    from step_audio.voices.making import VoiceMaker
    from step_audio.voices.speaker_encoder import SpeakerEncoder
    from tokenizer.stream import DualCodebookTokenizer
    from vocoder.hift import HiftGenerator
    from vocoder.stream import FlowVocoder

_MUSIC: Final = "vocoder_music"
_SPEAKER_GRAPHS: Final = ("vocoder/campplus.onnx", "tokenizer/campplus.onnx")
"""Where the speaker encoder may lie: published beside the flow, nano's beside the tokenizer."""


class Models:
    """The models of one profile, each loaded when it is first asked for.

    Every method raises WeightsError when the weights it needs are missing or not as listed.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._hifts: dict[str, HiftGenerator] = {}

    @cached_property
    def weights(self) -> Weights:
        """The profile's weights; those for this process are checked against their hashes."""
        weights = open_weights(self._profile.weights, self._profile.origin)
        if isinstance(self._profile.engine, LocalEngineSection):
            # Tens of MB: reading them all costs less than a wrong answer.
            weights.verify()
        return weights

    def audio_tokenizer(self) -> AudioTokenizer:
        """Return the ear: `weights`/tokenizer."""
        return self._ear()

    def _ear(self) -> DualCodebookTokenizer:
        self._limit_threads()
        from tokenizer.loading import load_tokenizer

        return load_tokenizer(
            self.weights.folder / "tokenizer",
            device=_device(self._profile.tokenizer.device),
            threads=self._profile.threads,
        )

    def vocoder(self) -> FlowVocoder:
        """Return the voice: `weights`/vocoder, flow and waveform generator."""
        return self._flow_vocoder("vocoder")

    def singing_vocoder(self) -> Vocoder | None:
        """Return what speaks rap and humming: `weights`/vocoder_music; None where it is not."""
        when = self._profile.vocoder.singing
        there = any(name.startswith(f"{_MUSIC}/flow") for name in self.weights.files)
        if when == "never" or not there:
            return None
        from vocoder.grid import SAMPLE_RATE_HZ

        if when == "start":
            return self._flow_vocoder(_MUSIC)
        return LoadedOnUse(lambda: self._flow_vocoder(_MUSIC), SAMPLE_RATE_HZ)

    def in_manner(self, vocoder: FlowVocoder) -> Callable[[tuple[str, ...]], Vocoder] | None:
        """Return what speaks in the manners of the profile; None where it names none."""
        if not self._profile.dialog.manners:
            return None
        from vocoder.manner_stream import open_manner
        from vocoder.manners import manner_of

        return lambda names: vocoder.with_waves(
            lambda seed: open_manner(self._hift("vocoder"), seed, manner_of(names))
        )

    def _flow_vocoder(self, folder: str) -> FlowVocoder:
        self._limit_threads()
        from vocoder.flow_loading import load_flow
        from vocoder.hift_stream import HiftStream
        from vocoder.stream import ChunkPlan, FlowVocoder

        settings = self._profile.vocoder
        device = _device(settings.device)
        flow = load_flow(self._model(f"{folder}/flow")).to(device)
        if settings.precision == "bfloat16":
            flow.decoder.estimator.bfloat16()
        if device == "cpu":
            from vocoder.programs import velocity_program

            flow.decoder.velocity = velocity_program(flow.decoder.estimator)
        hift = self._hift(folder)
        return FlowVocoder(
            flow,
            lambda seed: HiftStream(hift, seed),
            plan=ChunkPlan(sizes=settings.chunk_groups, prompt=settings.prompt_groups),
            n_steps=settings.ode_steps,
            guidance=settings.guidance,
            max_batch=settings.max_batch,
            noise_scale=settings.noise_scale,
        )

    def _hift(self, folder: str) -> HiftGenerator:
        """Return a waveform generator, loaded once."""
        if folder not in self._hifts:
            from vocoder.loading import load_hift

            device = _device(self._profile.vocoder.device)
            hift = load_hift(self._model(f"{folder}/hift")).to(device)
            if device == "cpu":
                from vocoder.programs import wave_program

                hift.wave = wave_program(hift)
            self._hifts[folder] = hift
        return self._hifts[folder]

    def default_voice(self) -> str:
        """Return the profile's voice. Raises VoiceNotFound, which says what brings it."""
        name = self._profile.voice
        try:
            return self._voices.get(name).name
        except VoiceNotFound as missing:
            raise VoiceNotFound(name, missing.known, self._profile.voice_origin) from None

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
            for name, file in sorted(self.weights.files.items())
            if name.startswith(("tokenizer/", "vocoder/flow")) or name.endswith("campplus.onnx")
        ]
        return UserVoices(
            FolderVoices(self.weights),
            self._profile.voice_folder,
            self.voice_maker,
            made_with=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        )

    def speaker_encoder(self) -> SpeakerEncoder | None:
        """Return what measures speakers; None where the weights have nothing for it."""
        from step_audio.voices.speaker_encoder import SpeakerEncoder

        graphs = [n for n in _SPEAKER_GRAPHS if n in self.weights.files]
        if not graphs:
            return None
        return SpeakerEncoder(self.weights.path(graphs[0]), self._profile.threads)

    def packaged_speaker_encoder(self) -> PackagedSpeakerEncoder | None:
        """Return what compares speakers without the weights' help; None: it is not installed."""
        from step_audio.eval.packaged_encoder import PackagedSpeakerEncoder, packaged_weights

        path = packaged_weights()
        return PackagedSpeakerEncoder(path) if path else None

    def voice_maker(self) -> VoiceMaker:
        """Return what makes voices; loaded for the one call, because few are ever made."""
        from step_audio.voices.folder import FolderVoices
        from step_audio.voices.making import VoiceMaker
        from vocoder.flow_loading import load_flow

        own = FolderVoices(self.weights)
        return VoiceMaker(
            self._ear(),
            load_flow(self._model("vocoder/flow")),
            self.speaker_encoder(),
            [own.get(name) for name in own.names()],
            examples=self.weights.facts.examples,
        )

    def _model(self, name: str) -> Path:
        """Return a model's file: our own format, else the published one."""
        suffix = ".pt" if f"{name}.pt" in self.weights.files else ".safetensors"
        return self.weights.path(name + suffix)

    def _limit_threads(self) -> None:
        import torch

        one_blas_thread()
        torch.set_num_threads(self._profile.threads)

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """What turns text to ids and back."""
        from step_audio.engine.text import load_text_tokenizer

        return load_text_tokenizer(self.weights.folder / "lm")

    @cached_property
    def vocab(self) -> Vocab:
        """Where ids of text, sound and marks lie."""
        from step_audio.engine.text import with_markers

        return with_markers(self.weights.facts.vocab, self.text_tokenizer)

    def engine(self, settings: LocalEngineSection | VllmEngineSection) -> Engine:
        """Return what writes ids: the model in this process, or a client of vLLM."""
        vocab = self.vocab
        if isinstance(settings, VllmEngineSection):
            from step_audio.engine.vllm import VllmEngine as RemoteEngine

            return RemoteEngine(
                settings.url,
                settings.model,
                vocab,
                first_token_timeout_s=settings.first_token_timeout_s,
                next_token_timeout_s=settings.next_token_timeout_s,
                api_key=settings.api_key.get_secret_value() if settings.api_key else None,
                text_tokenizer=self.text_tokenizer,
            )
        self._limit_threads()
        from step_audio.engine.local import LocalEngine as Step1Engine
        from step_audio.engine.weights import load_step1

        decoder = load_step1(self.weights.folder / settings.folder).decoder(settings.precision)
        profile = self._profile
        return Step1Engine(
            decoder, vocab, max_streams=profile.limits.max_sessions, threads=profile.threads
        )


def _device(name: str) -> str:
    """Return a device for torch."""
    import torch

    if name != "auto":
        return name
    return "cuda:0" if torch.cuda.is_available() else "cpu"


class LoadedOnUse:
    """A vocoder that is loaded when the first stream is opened."""

    def __init__(self, load: Callable[[], Vocoder], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._load, self._loading = load, threading.Lock()
        self._loaded: Vocoder | None = None

    @property
    def chunks(self) -> ChunkSizes:
        """How streams are cut; unknown before the first one."""
        return self._loaded.chunks if self._loaded else ChunkSizes()

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        """Start a stream; the first one waits for the model. Raises WeightsError."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
        return self._loaded.open(voice, seed)
