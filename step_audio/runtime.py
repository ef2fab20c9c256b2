"""Composition: profile -> parts. The only file that names concrete classes.

Heavy libraries are imported by the part that needs them, when it is first asked for: `check`
starts in a tenth of a second, `tokenize` never loads the LM.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from step_audio.core.blas import one_blas_thread
from step_audio.core.decoder_pool import DecoderPool
from step_audio.core.errors import ProfileError, ToolError, VoiceNotFound
from step_audio.core.ports import (
    AudioTokenizer,
    ChunkSizes,
    Engine,
    Services,
    SpeechRecognizer,
    Stage,
    TextTokenizer,
    ToolBox,
    TurnDetector,
    Vocoder,
    VoiceLibrary,
    VoiceStore,
)
from step_audio.core.profile import (
    ChatSection,
    LocalEngineSection,
    OwnModelSection,
    Profile,
    ScriptedEngineSection,
    SpeechEndpointSection,
    TranscriptionEndpointSection,
    VllmEngineSection,
    WhisperSection,
)
from step_audio.core.types import Pcm, SamplingParams, TextOptions, TokenGroup, Voice
from step_audio.core.vocab import Vocab
from step_audio.core.weights import Weights, open_weights
from step_audio.dialog.prompting.question_domain import QuestionDomain, read_question_domain
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.response.chat_turn import ChatSettings
from step_audio.dialog.response.token_stream import TokenTimeouts
from step_audio.dialog.role_play.cards import load_cards
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.dialog.speakable.pronunciation import FILE as PRONUNCIATIONS
from step_audio.dialog.speakable.pronunciation import read_pronunciations
from step_audio.dialog.speakable.reading_domain import ReadingDomain, read_domain
from step_audio.dialog.tool_calls.background import BackgroundCallSettings

if TYPE_CHECKING:
    from step_audio.eval.packaged_encoder import PackagedSpeakerEncoder
    from step_audio.voices.library import UserVoices
    from step_audio.voices.making import VoiceMaker
    from step_audio.voices.speaker_encoder import SpeakerEncoder
    from tokenizer.stream import DualCodebookTokenizer
    from vocoder.hift import HiftGenerator
    from vocoder.stream import FlowVocoder

_MUSIC: Final = "vocoder_music"
_QUESTIONS: Final = "lm/questions.json"
_SPEAKER_GRAPHS: Final = ("vocoder/campplus.onnx", "tokenizer/campplus.onnx")
"""Where the speaker encoder may lie: published beside the flow, nano's beside the tokenizer."""

_log = logging.getLogger(__name__)


class Runtime:
    """The parts of one profile, each built when it is first asked for.

    Every method raises WeightsError when the weights it needs are missing or not as listed.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._hifts: dict[str, HiftGenerator] = {}

    def services(self) -> Services:
        """Return everything that a server or `ask` needs.

        Raises:
            ProfileError: a cascade without a second model.
            VoiceNotFound: the profile's voice is not among the weights.
        """
        profile = self._profile
        if profile.responder == "chat":
            return self._chatting()
        engine = profile.engine
        if isinstance(engine, ScriptedEngineSection):
            return replace(self._scripted(engine), recognizer=self._recognizer(profile.transcriber))
        if isinstance(engine, SpeechEndpointSection):
            raise ProfileError("engine.kind 'speech_endpoint' is for the responder 'chat' only")
        cascade = profile.responder == "cascade"
        if cascade and profile.speech_engine is None:
            raise ProfileError("responder 'cascade' needs a speech_engine: who reads the answers?")
        ear = profile.transcriber
        if isinstance(ear, OwnModelSection) and not profile.dialog.transcribe_prompt:
            raise ProfileError(
                "transcriber.kind 'own_model' needs a model that was taught to transcribe, and"
                " dialog.transcribe_prompt, which asks it; give whisper or endpoint"
            )
        second = profile.speech_engine if cascade else None
        parts = self._own_parts(engine, second, self.audio_tokenizer())
        return replace(parts, recognizer=self._recognizer(ear))

    def _own_parts(
        self,
        engine: LocalEngineSection | VllmEngineSection,
        second: LocalEngineSection | VllmEngineSection | None,
        audio_tokenizer: AudioTokenizer | None,
    ) -> Services:
        """Return the parts of a deployment whose sound a model of ours makes."""
        profile, voices, vocoder = self._profile, self._voices, self.vocoder()
        return Services(
            model_name=profile.model_name,
            vocab=self._vocab,
            audio_tokenizer=audio_tokenizer,
            text_tokenizer=self._text_tokenizer,
            engine=self._engine(engine),
            vocoder=vocoder,
            in_manner=self._in_manner(vocoder),
            singing_vocoder=self._singing_vocoder(),
            chat_headers=self._weights.facts.chat_headers,
            speech_headers=self._weights.facts.speech_headers,
            voices=voices,
            voice_library=voices,
            default_voice=self._default_voice(),
            tools=self._tools(),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            sound_decoder=DecoderPool(),
            turn_detector=self.turn_detector(),
            speech_engine=self._engine(second) if second else None,
        )

    def _chatting(self) -> Services:
        """Return the parts of a deployment whose answers a chat model writes."""
        from step_audio.endpoints.chat import ChatCompletions
        from step_audio.endpoints.connection import endpoint_of

        profile, chat = self._profile, self._profile.chat
        if chat is None:
            raise ProfileError("responder 'chat' needs a section chat: {url, model}")
        ear = profile.transcriber
        if ear is None and chat.hears != "audio":
            raise ProfileError(
                "who hears? give a transcriber, or chat: {hears: audio} for a model that does"
            )
        own_ear = isinstance(ear, OwnModelSection)
        model = ChatCompletions(
            endpoint_of(chat),
            chat.model,
            first_word_timeout_s=chat.first_token_timeout_s,
            extra_body=chat.extra_body,
            begins_thinking=chat.begins_thinking,
        )
        tokenizer = self.audio_tokenizer() if own_ear else None
        return replace(
            self._voice_parts(tokenizer),
            chat_model=model,
            audio_tokenizer=tokenizer,
            recognizer=self._recognizer(ear),
            at_work=lambda: self._at_work(chat, model.model),
        )

    def _voice_parts(self, audio_tokenizer: AudioTokenizer | None) -> Services:
        """Return what reads aloud what a chat model writes, and what is the same for all."""
        engine = self._profile.engine
        if isinstance(engine, ScriptedEngineSection):
            return self._scripted(engine)
        if isinstance(engine, SpeechEndpointSection):
            return self._service_voice(engine)
        return self._own_parts(engine, None, audio_tokenizer)

    def _service_voice(self, engine: SpeechEndpointSection) -> Services:
        from step_audio import scripted
        from step_audio.endpoints.connection import endpoint_of
        from step_audio.endpoints.speech import SpeechEndpoint
        from step_audio.endpoints.voices import NoEngine, ServiceVoices

        service = SpeechEndpoint(
            endpoint_of(engine),
            engine.model,
            sample_rate_hz=engine.sample_rate_hz,
        )
        voices = ServiceVoices(engine.voices)
        return Services(
            model_name=self._profile.model_name,
            vocab=scripted.VOCAB,
            audio_tokenizer=None,
            text_tokenizer=scripted.Bytes(),
            engine=NoEngine(),
            vocoder=scripted.Tone(),
            voices=voices,
            default_voice=voices.get(self._profile.voice).name,
            tools=self._tools(),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            sound_decoder=DecoderPool(),
            turn_detector=self.turn_detector(),
            speech_model=service,
        )

    def _recognizer(
        self, ear: WhisperSection | TranscriptionEndpointSection | OwnModelSection | None
    ) -> SpeechRecognizer | None:
        if isinstance(ear, WhisperSection):
            from step_audio.whisper import WhisperRecognizer

            return WhisperRecognizer(
                ear.model, device=ear.device, threads=ear.threads, languages=ear.languages
            )
        if isinstance(ear, TranscriptionEndpointSection):
            from step_audio.endpoints.connection import endpoint_of
            from step_audio.endpoints.transcription import TranscriptionEndpoint

            return TranscriptionEndpoint(endpoint_of(ear), ear.model)
        return None

    def _at_work(self, chat: ChatSection, answers: str) -> dict[str, str]:
        """Return which models hear, answer and speak, as people are told it."""
        profile = self._profile
        match profile.transcriber:
            case WhisperSection(model=model):
                ear = f"Whisper {Path(model).name}"
            case TranscriptionEndpointSection(model=model):
                ear = model
            case OwnModelSection():
                ear = profile.weights.name
            case _:
                ear = "the chat model"
        match profile.engine:
            case LocalEngineSection():
                voice = profile.weights.name
            case ScriptedEngineSection():
                voice = "a tone"
            case engine:
                voice = engine.model
        chats = f"{answers or 'the first model'} at {urlsplit(chat.url).netloc}"
        return {"ear": ear, "chat": chats, "voice": f"{voice}, {profile.voice}"}

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
            roles=load_cards(profile.role_folder),
            domain=self._domain(),
            spell=self._spell(),
            questions=self._questions(),
            sampling=sampling,
            reading=reading,
            max_question_s=profile.limits.max_question_s,
            max_prompt_ids=self._context() - sampling.max_tokens,
            vocoder_streams=profile.vocoder.max_batch,
            patience=self._patience(),
            dialect=tools.dialect,
            background_calls=BackgroundCallSettings(
                tools.bridge, tools.bridge_after_s, tools.wait_s, dict(tools.bridges)
            ),
            result_role=tools.result_role,
            turns=TurnSettings(
                silence_ms=profile.turn_detector.silence_ms,
                speculate=self._speculates(),
                resume_ms=profile.turns.resume_ms,
                backchannel_ms=profile.turns.backchannel_ms,
            ),
            chat=self._chat_settings(),
            live_words=self._live_words(),
        )

    def _chat_settings(self) -> ChatSettings:
        chat = self._profile.chat
        if chat is None:
            return ChatSettings()
        return ChatSettings(
            hears=chat.hears == "audio",
            context_tokens=chat.context_tokens,
            unheard=load_prompt("unheard"),
        )

    def _speculates(self) -> bool:
        """Whether answers are begun in pauses: not where chat, ear or voice may be paid for."""
        profile = self._profile
        asked = profile.turns.speculate
        if asked is not None or profile.chat is None:
            return asked is not False
        from step_audio.endpoints.connection import is_local

        parts = (profile.chat, profile.transcriber, profile.engine)
        services = (ChatSection, TranscriptionEndpointSection, SpeechEndpointSection)
        return all(is_local(part.url) for part in parts if isinstance(part, services))

    def _live_words(self) -> bool:
        ear = self._profile.transcriber
        if isinstance(ear, TranscriptionEndpointSection) and ear.live is None:
            from step_audio.endpoints.connection import is_local

            return is_local(ear.url)
        return getattr(ear, "live", True) is not False

    def _domain(self) -> ReadingDomain:
        """Return what the model that reads aloud was taught; anything where it does not say."""
        listed = self._of_reader("word_pairs.txt")
        return read_domain(listed.read_text(encoding="utf-8")) if listed else ReadingDomain()

    def _spell(self) -> Callable[[str], str]:
        """Return how sentences are written for the model that reads aloud."""
        listed = self._of_reader(PRONUNCIATIONS)
        return read_pronunciations(listed).spelled if listed else str

    def _of_reader(self, name: str) -> Path | None:
        """Return a file beside the weights of the model that reads aloud, if it is there."""
        reads = self._profile.speech_engine or self._profile.engine
        if isinstance(reads, ScriptedEngineSection | SpeechEndpointSection):
            return None
        listed = self._weights.folder / "lm" / name
        return listed if listed.is_file() else None

    def _questions(self) -> QuestionDomain:
        """Return what the model that answers was taught to be asked; anything where nobody says."""
        own = isinstance(self._profile.engine, LocalEngineSection)
        if self._profile.chat or not own or _QUESTIONS not in self._weights.files:
            return QuestionDomain()
        return read_question_domain(self._weights.path(_QUESTIONS))

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
            sound_decoder=DecoderPool(),
            turn_detector=self.turn_detector(),
        )

    def _context(self) -> int:
        """Return the most ids of a sequence."""
        if isinstance(self._profile.engine, ScriptedEngineSection | SpeechEndpointSection):
            from step_audio import scripted

            return scripted.CONTEXT
        return self._weights.facts.context

    def audio_tokenizer(self) -> AudioTokenizer:
        """Return the ear: `weights`/tokenizer."""
        return self._ear()

    def _ear(self) -> DualCodebookTokenizer:
        self._limit_threads()
        from tokenizer.loading import load_tokenizer

        return load_tokenizer(
            self._weights.folder / "tokenizer",
            device=_device(self._profile.tokenizer.device),
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

    def vocoder(self) -> FlowVocoder:
        """Return the voice: `weights`/vocoder, flow and waveform generator."""
        return self._flow_vocoder("vocoder")

    def _singing_vocoder(self) -> Vocoder | None:
        """Return what speaks rap and humming: `weights`/vocoder_music; None where it is not."""
        when = self._profile.vocoder.singing
        there = any(name.startswith(f"{_MUSIC}/flow") for name in self._weights.files)
        if when == "never" or not there:
            return None
        from vocoder.grid import SAMPLE_RATE_HZ

        if when == "start":
            return self._flow_vocoder(_MUSIC)
        return LoadedOnUse(lambda: self._flow_vocoder(_MUSIC), SAMPLE_RATE_HZ)

    def _in_manner(self, vocoder: FlowVocoder) -> Callable[[tuple[str, ...]], Vocoder] | None:
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

            hift = load_hift(self._model(f"{folder}/hift"))
            self._hifts[folder] = hift.to(_device(self._profile.vocoder.device))
        return self._hifts[folder]

    def _default_voice(self) -> str:
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
            for name, file in sorted(self._weights.files.items())
            if name.startswith(("tokenizer/", "vocoder/flow")) or name.endswith("campplus.onnx")
        ]
        return UserVoices(
            FolderVoices(self._weights),
            self._profile.voice_folder,
            self.voice_maker,
            made_with=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        )

    def speaker_encoder(self) -> SpeakerEncoder | None:
        """Return what measures speakers; None where the weights have nothing for it."""
        from step_audio.voices.speaker_encoder import SpeakerEncoder

        graphs = [n for n in _SPEAKER_GRAPHS if n in self._weights.files]
        if not graphs:
            return None
        return SpeakerEncoder(self._weights.path(graphs[0]), self._profile.threads)

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

        own = FolderVoices(self._weights)
        return VoiceMaker(
            self._ear(),
            load_flow(self._model("vocoder/flow")),
            self.speaker_encoder(),
            [own.get(name) for name in own.names()],
            examples=self._weights.facts.examples,
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

    @cached_property
    def _text_tokenizer(self) -> TextTokenizer:
        from step_audio.engine.text import load_text_tokenizer

        return load_text_tokenizer(self._weights.folder / "lm")

    @cached_property
    def _vocab(self) -> Vocab:
        from step_audio.engine.text import with_markers

        return with_markers(self._weights.facts.vocab, self._text_tokenizer)

    def _patience(self) -> TokenTimeouts:
        """Return how long to wait for engines: a little longer than those wait themselves."""
        engines = (self._profile.engine, self._profile.speech_engine)
        remote: list[VllmEngineSection | ChatSection]
        remote = [engine for engine in engines if isinstance(engine, VllmEngineSection)]
        remote += [self._profile.chat] if self._profile.chat else []
        usual = TokenTimeouts()
        return TokenTimeouts(
            first_s=max([e.first_token_timeout_s + 1 for e in remote], default=usual.first_s),
            next_s=max([e.next_token_timeout_s + 1 for e in remote], default=usual.next_s),
        )

    def _engine(self, settings: LocalEngineSection | VllmEngineSection) -> Engine:
        vocab = self._vocab
        if isinstance(settings, VllmEngineSection):
            from step_audio.engine.vllm import VllmEngine as RemoteEngine

            return RemoteEngine(
                settings.url,
                settings.model,
                vocab,
                first_token_timeout_s=settings.first_token_timeout_s,
                next_token_timeout_s=settings.next_token_timeout_s,
                api_key=settings.api_key.get_secret_value() if settings.api_key else None,
                text_tokenizer=self._text_tokenizer,
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
        from step_audio.tools.boxes import ToolBoxes
        from step_audio.tools.mcp import McpAddress, McpTools

        settings = self._profile.tools
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
        return ToolBoxes([self._own_tools(), *servers], timeout_s=settings.timeout_s)

    def _own_tools(self) -> ToolBox:
        """Return the built-in tools; those of nano are imported for nano alone."""
        from step_audio.tools.clock import WallClock, zone_of
        from step_audio.tools.weather import HttpWeather

        settings = self._profile.tools
        weather = HttpWeather(**settings.weather.model_dump()) if settings.weather else None
        try:
            home = zone_of(settings.timezone) if settings.timezone is not None else None
        except ToolError as error:
            raise ProfileError(f"tools.timezone: {error}") from None
        if settings.kind == "general":
            from step_audio.tools.general import GeneralTools

            return GeneralTools(WallClock(), home, weather)
        from step_audio.nano.tools.toolbox import FakeTools, NanoTools

        if settings.kind == "fake":
            return FakeTools(settings.seed)
        return NanoTools(None, WallClock(), home, weather)


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
