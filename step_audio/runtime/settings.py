"""What a profile and its weights say about how answers are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from step_audio.core.profile import (
    ChatSection,
    LocalEngineSection,
    Profile,
    ScriptedEngineSection,
    SpeechEndpointSection,
    TranscriptionEndpointSection,
    VllmEngineSection,
)
from step_audio.core.types import SamplingParams, TextOptions
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
from step_audio.runtime.models import Models

_QUESTIONS: Final = "lm/questions.json"


def dialog_settings(profile: Profile, models: Models) -> DialogSettings:
    """Return what a profile says about answers, and its weights.

    Raises: WeightsError: weights are missing or not as listed.
    """
    sampling = SamplingParams(**profile.sampling.model_dump())
    reading = SamplingParams(**(profile.reading or profile.sampling).model_dump())
    tools = profile.tools
    return DialogSettings(
        **profile.dialog.model_dump(),
        text_options=TextOptions(**profile.text_options.model_dump()),
        responder=profile.responder,
        roles=load_cards(profile.role_folder),
        domain=_domain(profile, models),
        spell=_spell(profile, models),
        questions=_questions(profile, models),
        sampling=sampling,
        reading=reading,
        max_question_s=profile.limits.max_question_s,
        max_prompt_ids=_context(profile, models) - sampling.max_tokens,
        vocoder_streams=profile.vocoder.max_batch,
        patience=_patience(profile),
        dialect=tools.dialect,
        background_calls=BackgroundCallSettings(
            tools.bridge, tools.bridge_after_s, tools.wait_s, dict(tools.bridges)
        ),
        result_role=tools.result_role,
        turns=TurnSettings(
            silence_ms=profile.turn_detector.silence_ms,
            speculate=_speculates(profile),
            resume_ms=profile.turns.resume_ms,
            backchannel_ms=profile.turns.backchannel_ms,
        ),
        chat=_chat_settings(profile),
        live_words=_live_words(profile),
    )


def _chat_settings(profile: Profile) -> ChatSettings:
    chat = profile.chat
    if chat is None:
        return ChatSettings()
    return ChatSettings(
        hears=chat.hears == "audio",
        context_tokens=chat.context_tokens,
        unheard=load_prompt("unheard"),
    )


def _speculates(profile: Profile) -> bool:
    """Whether answers are begun in pauses: not where chat, ear or voice may be paid for."""
    asked = profile.turns.speculate
    if asked is not None or profile.chat is None:
        return asked is not False
    from step_audio.endpoints.connection import is_local

    parts = (profile.chat, profile.transcriber, profile.engine)
    services = (ChatSection, TranscriptionEndpointSection, SpeechEndpointSection)
    return all(is_local(part.url) for part in parts if isinstance(part, services))


def _live_words(profile: Profile) -> bool:
    ear = profile.transcriber
    if isinstance(ear, TranscriptionEndpointSection) and ear.live is None:
        from step_audio.endpoints.connection import is_local

        return is_local(ear.url)
    return getattr(ear, "live", True) is not False


def _domain(profile: Profile, models: Models) -> ReadingDomain:
    """Return what the model that reads aloud was taught; anything where it does not say."""
    listed = _of_reader(profile, models, "word_pairs.txt")
    return read_domain(listed.read_text(encoding="utf-8")) if listed else ReadingDomain()


def _spell(profile: Profile, models: Models) -> Callable[[str], str]:
    """Return how sentences are written for the model that reads aloud."""
    listed = _of_reader(profile, models, PRONUNCIATIONS)
    return read_pronunciations(listed).spelled if listed else str


def _of_reader(profile: Profile, models: Models, name: str) -> Path | None:
    """Return a file beside the weights of the model that reads aloud, if it is there."""
    reads = profile.speech_engine or profile.engine
    if isinstance(reads, ScriptedEngineSection | SpeechEndpointSection):
        return None
    listed = models.weights.folder / "lm" / name
    return listed if listed.is_file() else None


def _questions(profile: Profile, models: Models) -> QuestionDomain:
    """Return what the model that answers was taught to be asked; anything where nobody says."""
    own = isinstance(profile.engine, LocalEngineSection)
    if profile.chat or not own or _QUESTIONS not in models.weights.files:
        return QuestionDomain()
    return read_question_domain(models.weights.path(_QUESTIONS))


def _context(profile: Profile, models: Models) -> int:
    """Return the most ids of a sequence."""
    if isinstance(profile.engine, ScriptedEngineSection | SpeechEndpointSection):
        from step_audio import scripted

        return scripted.CONTEXT
    return models.weights.facts.context


def _patience(profile: Profile) -> TokenTimeouts:
    """Return how long to wait for engines: a little longer than those wait themselves."""
    engines = (profile.engine, profile.speech_engine)
    remote: list[VllmEngineSection | ChatSection]
    remote = [engine for engine in engines if isinstance(engine, VllmEngineSection)]
    remote += [profile.chat] if profile.chat else []
    usual = TokenTimeouts()
    return TokenTimeouts(
        first_s=max([e.first_token_timeout_s + 1 for e in remote], default=usual.first_s),
        next_s=max([e.next_token_timeout_s + 1 for e in remote], default=usual.next_s),
    )
