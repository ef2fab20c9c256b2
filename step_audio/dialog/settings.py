"""What a deployment chooses of the dialogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from step_audio.core.profile import LanguageCode
from step_audio.core.types import Role, SamplingParams, TextOptions
from step_audio.dialog.prompting.question_domain import QuestionDomain
from step_audio.dialog.response.chat_turn import ChatSettings
from step_audio.dialog.response.token_stream import TokenTimeouts
from step_audio.dialog.role_play.cards import RoleCards
from step_audio.dialog.role_play.role import Exchange
from step_audio.dialog.speakable.reading_domain import ReadingDomain
from step_audio.dialog.tool_calls.background import BackgroundCallSettings


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """How pauses and interruptions are taken.

    Attributes:
        silence_ms: quiet that ends a turn, where the client does not say.
        speculate: whether a short pause starts an answer, held until the turn is over.
        resume_ms: a sound shorter than this does not end an answer but delays it, unless its words
            say otherwise; 0: any sound ends it.
        backchannel_ms: so long a sound may be for its words to decide; 0: they never do.
    """

    silence_ms: int = 500
    speculate: bool = True
    resume_ms: int = 0
    backchannel_ms: int = 0


@dataclass(frozen=True, slots=True)
class DialogSettings:
    """What a deployment chooses; see the profile.

    Attributes:
        responder: direct: the engine speaks itself. cascade: the speech engine speaks its text.
            chat: a chat model writes, the engine or a speech model speaks its text.
            speech: there are no conversations, only texts to read aloud.
        answer_prompt, read_prompt, transcribe_prompt: names of system prompts; an empty
            transcribe_prompt says that the model was not taught to transcribe.
        typed_in_words: whether typed questions are put into words first.
        takes_instructions: whether the checkpoint was trained to follow a client's
            instructions; else they are accepted and do not reach the prompt.
        takes_examples: whether the checkpoint imitates a voice's example when it reads aloud.
        takes_style_tags: whether the checkpoint knows the tags of dialog/styles.py.
        manners: what the vocoder does to the sound itself; see the profile.
        taught_roles: roles that the checkpoint knows by heart, each with how it was taught it.
        roles: cards of characters.
        languages: what it was taught to read aloud; none: whatever it is given.
        domain: what a model of a small world can read aloud.
        spell: how a sentence is written for a model that knows few words.
        questions: what it was taught to be asked; of typed questions others are declined.
        text_options: what of a text is read, where a request does not say.
        sampling: of answers. reading: of text read aloud.
        max_question_s: longest spoken question.
        max_prompt_ids: the oldest exchanges are left out of a longer prompt.
        vocoder_streams: so many streams may be in the vocoder at once, and share its work.
        recent_audio: so many past spoken exchanges are shown to the model as sound.
        turns: how pauses and interruptions are taken.
        dialect: how the checkpoint writes tool calls.
        result_role: whose turn a result is in dialects that leave it open.
        background_calls: how long calls are waited for, and what is said meanwhile.
        chat: what holds for a chat model.
        live_words: whether questions are recognized while they are spoken.
    """

    responder: Literal["direct", "cascade", "chat", "speech"] = "direct"
    answer_prompt: str = "answer"
    read_prompt: str = "read"
    transcribe_prompt: str = "transcribe"
    typed_in_words: bool = False
    takes_instructions: bool = False
    takes_examples: bool = True
    takes_style_tags: bool = False
    manners: tuple[str, ...] = ()
    taught_roles: Mapping[str, Exchange] = field(default_factory=dict)
    roles: RoleCards = field(default_factory=RoleCards)
    languages: tuple[LanguageCode, ...] = ()
    domain: ReadingDomain = field(default_factory=ReadingDomain)
    spell: Callable[[str], str] = str
    questions: QuestionDomain = field(default_factory=QuestionDomain)
    text_options: TextOptions = field(default_factory=TextOptions)
    sampling: SamplingParams = field(default_factory=SamplingParams)
    reading: SamplingParams = field(default_factory=SamplingParams)
    max_question_s: float = 60.0
    max_prompt_ids: int = 4096
    vocoder_streams: int = 1
    recent_audio: int = 0
    patience: TokenTimeouts = field(default_factory=TokenTimeouts)
    turns: TurnSettings = field(default_factory=TurnSettings)
    dialect: str = "nano"
    result_role: Role = "input"
    background_calls: BackgroundCallSettings = field(default_factory=BackgroundCallSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    live_words: bool = True
