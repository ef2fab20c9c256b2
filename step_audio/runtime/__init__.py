"""Composition: profile -> parts. The only place that names concrete classes.

Heavy libraries are imported by the part that needs them, when it is first asked for: `check`
starts in a tenth of a second, `tokenize` never loads the LM.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from step_audio.core.decoder_pool import DecoderPool
from step_audio.core.errors import ProfileError
from step_audio.core.ports import AudioTokenizer, Services, SpeechRecognizer, TurnDetector
from step_audio.core.profile import (
    ChatSection,
    LocalEngineSection,
    OwnModelSection,
    ScriptedEngineSection,
    SpeechEndpointSection,
    TranscriptionEndpointSection,
    VllmEngineSection,
    WhisperSection,
)
from step_audio.dialog.settings import DialogSettings
from step_audio.runtime.models import Models
from step_audio.runtime.settings import dialog_settings
from step_audio.runtime.toolbox import open_tools

_log = logging.getLogger(__name__)


class Runtime(Models):
    """The parts of one profile, each built when it is first asked for.

    Every method raises WeightsError when the weights it needs are missing or not as listed.
    """

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
        profile, vocoder = self._profile, self.vocoder()
        return Services(
            model_name=profile.model_name,
            vocab=self.vocab,
            audio_tokenizer=audio_tokenizer,
            text_tokenizer=self.text_tokenizer,
            engine=self.engine(engine),
            vocoder=vocoder,
            in_manner=self.in_manner(vocoder),
            singing_vocoder=self.singing_vocoder(),
            chat_headers=self.weights.facts.chat_headers,
            speech_headers=self.weights.facts.speech_headers,
            voices=self.voices(),
            voice_library=self.voice_library(),
            default_voice=self.default_voice(),
            tools=open_tools(profile.tools),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            sound_decoder=DecoderPool(),
            turn_detector=self.turn_detector(),
            speech_engine=self.engine(second) if second else None,
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
            tools=open_tools(self._profile.tools),
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
        return dialog_settings(self._profile, self)

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
            tools=open_tools(self._profile.tools),
            clock=MonotonicClock(),
            recorder=LogRecorder(),
            sound_decoder=DecoderPool(),
            turn_detector=self.turn_detector(),
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
