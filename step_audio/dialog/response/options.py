"""How one answer is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from step_audio.core.ports import RecognitionHints, ToolSpec
from step_audio.core.types import SamplingParams, Voice
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.speakable.style_tags import PLAIN, Style
from step_audio.dialog.tool_calls.background import BackgroundCalls
from step_audio.dialog.tool_calls.tool_choice import FREE, ToolChoice


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How one answer is asked for.

    Attributes:
        until: id of the item to answer, None in an empty conversation. The user may add items
            meanwhile; the answer stays behind what it answers.
        answer_id: item id under which the answer joins the conversation.
        voice: who speaks it.
        style: how, where a second model reads the answer aloud.
        system: text of the system turn.
        exchange: a request and its answer that set a role which the model knows by heart.
        sampling: how ids are drawn.
        client_tools: tools that the client runs: such a call ends the answer.
        tools: all that the model is told of, where its dialect lists tools.
        choice: whether a tool is called.
        aloud: False where only the text is wanted: a voiceover is left out.
        session: whose answer it is, for the engine's prefix cache.
        usage: counts the ids while the answer runs.
        go_ahead: awaited before a tool is run that may not be called early. An early answer may
            still be thrown away, and what a tool did cannot be.
        early: whether the answer may still be thrown away, as nobody has heard of it.
        background_calls: carry out the calls and keep long ones; None: all are waited for.
        heard_among: the transcript is one of these phrases; none: it is free.
        hints: what is known of the speech in questions, for a recognizer.
    """

    until: str | None
    answer_id: str
    voice: Voice
    system: str
    sampling: SamplingParams
    client_tools: frozenset[str] = frozenset()
    tools: tuple[ToolSpec, ...] = ()
    choice: ToolChoice = FREE
    aloud: bool = True
    style: Style = PLAIN
    exchange: tuple[str, str] | None = None
    session: str = ""
    usage: Usage = field(default_factory=Usage)
    go_ahead: Callable[[], Awaitable[None]] | None = None
    early: Callable[[], bool] = lambda: False
    background_calls: BackgroundCalls | None = None
    heard_among: tuple[str, ...] = ()
    hints: RecognitionHints = RecognitionHints()  # noqa: RUF009 - frozen
