"""Who speaks in a session: a pure machine of values. Events go in, commands come out.

`on` takes what happened and returns the next state and what has to be done for it. It never does
anything itself, and it changes nothing before it has checked that the event fits. Whoever carries
the commands out (`server.realtime.session.turn_controller`) feeds back what came of them.

A response exists in the phases SPECULATING, THINKING, SPEAKING and INTERRUPTED, and in no other.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from step_audio.core.errors import Overloaded, TurnError

MAX_WAITING: Final = 16
"""Responses that may wait for a silence."""

Request = Hashable
"""What a response is asked for with; the machine only passes it on."""


class Phase(Enum):
    """What the session is doing."""

    LISTENING = auto()
    """Nobody speaks."""
    HEARING = auto()
    """The user speaks."""
    PAUSING = auto()
    """The user fell silent; the turn may be over."""
    SPECULATING = auto()
    """The same, and a response to what was said so far is made and held back."""
    THINKING = auto()
    """A response runs; none of its sound was sent yet."""
    SPEAKING = auto()
    """A response runs, and its sound is being sent."""
    INTERRUPTED = auto()
    """A sound interrupted a response, which waits: it may be a cough, or a word of assent."""


P = Phase
RESPONDING: Final = frozenset({P.THINKING, P.SPEAKING})
BUSY: Final = RESPONDING | {P.INTERRUPTED}
"""Phases with a response that the client knows of."""


@dataclass(frozen=True, slots=True)
class TurnState:
    """Everything that decides what happens next.

    Attributes:
        phase: see `Phase`.
        user_speaks: whether the user speaks, over a response or not.
        waiting: requests for responses that begin when nobody speaks, oldest first.
    """

    phase: Phase = P.LISTENING
    user_speaks: bool = False
    waiting: tuple[Request, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a response is under way that the client knows of."""
        return self.phase in BUSY


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user began to speak, or goes on after a pause (`again`).

    Attributes:
        interrupt: whether speech ends a response.
        again: more of the same turn.
        delays: whether a short sound only delays a response.
        unheard: all of the last response was sent, and some of it is still to be heard.
    """

    interrupt: bool = True
    again: bool = False
    delays: bool = False
    unheard: bool = False


@dataclass(frozen=True, slots=True)
class SpeechConfirmed:
    """The sound that interrupted a response lasts so long that it is speech."""


@dataclass(frozen=True, slots=True)
class SoundJudged:
    """The short sound that interrupted a response is over, and it is known what it was.

    Attributes:
        ends: it asks for the end of the response; else it was a cough, or a word of assent.
    """

    ends: bool


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """A short silence after speech. `early` asks for a response that is held back, if wanted."""

    early: Request | None = None


@dataclass(frozen=True, slots=True)
class TurnOver:
    """The user's turn is over. `request` asks for the response to it; None: none is wanted."""

    request: Request | None


@dataclass(frozen=True, slots=True)
class ResponseRequested:
    """The client asks for a response. `follows_call`: the one under way called its tool."""

    request: Request
    follows_call: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A response is wanted as soon as nobody speaks."""

    request: Request


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The client cancels the response."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The conversation or the settings changed: an early response no longer holds."""


@dataclass(frozen=True, slots=True)
class FirstAudio:
    """The first sound of the response was sent."""


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The response is complete, or broke (`failed`)."""

    failed: bool = False


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """A command raised: its response cannot go on."""


Event = (
    SpeechStarted
    | SpeechConfirmed
    | SoundJudged
    | SpeechPaused
    | TurnOver
    | ResponseRequested
    | Wanted
    | Cancelled
    | Stale
    | FirstAudio
    | ResponseEnded
    | CommandFailed
)


# --- commands ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start a response and let it out, or keep all of it back (`held`)."""

    request: Request
    held: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Let the held response out."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the response for the client and stop it. `by_speech`: the user spoke."""

    by_speech: bool


@dataclass(frozen=True, slots=True)
class Discard:
    """Stop the response; the client does not see it run."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """End the response for the client and keep what was not heard."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Send the rest of the suspended response, as a response of its own."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """All of the last response was sent: shorten the history to what was heard of it."""


Command = Start | Release | Cancel | Discard | Suspend | Resume | Truncate
Step = tuple[TurnState, list[Command]]


# --- the machine -------------------------------------------------------------------------------


def on(state: TurnState, event: Event) -> Step:
    """Return the next state and what has to be done, in order.

    Raises:
        TurnError: the event does not fit; nothing changed.
        Overloaded: too many responses wait; nothing changed.
    """
    after, commands = _on(state, event)
    if after.phase is P.LISTENING and after.user_speaks:  # over a response
        after = replace(after, phase=P.HEARING)
    elif after.phase is P.LISTENING and after.waiting:
        request, *rest = after.waiting
        after = replace(after, phase=P.THINKING, waiting=tuple(rest))
        commands = [*commands, Start(request)]
    return after, commands


def _on(state: TurnState, event: Event) -> Step:  # noqa: PLR0911, PLR0912 - one branch an event
    phase = state.phase
    match event:
        case SpeechStarted():
            return _speech_started(replace(state, user_speaks=True), event)
        case SpeechConfirmed():
            return _confirmed(state)
        case SoundJudged(ends):
            if phase is not P.INTERRUPTED or ends:  # it may have been cancelled meanwhile
                return _confirmed(state)
            return replace(state, phase=P.THINKING, user_speaks=False), [Resume()]
        case SpeechPaused(early):
            if phase is not P.HEARING:
                return state, []
            if early is None:
                return replace(state, phase=P.PAUSING), []
            return replace(state, phase=P.SPECULATING), [Start(early, held=True)]
        case TurnOver(request):
            return _turn_over(replace(state, user_speaks=False), request)
        case ResponseRequested(request, follows_call):
            return _asked(state, request, follows_call=follows_call)
        case Wanted(request):
            return _waiting(state, request), []
        case Cancelled():
            if phase is P.INTERRUPTED:
                return replace(state, phase=P.LISTENING), [Discard()]
            if phase not in RESPONDING:
                raise TurnError(f"no response to cancel while {phase.name}")
            return replace(state, phase=P.LISTENING), [Cancel(by_speech=False)]
        case Stale():
            return _stale(state)
        case FirstAudio():
            return (replace(state, phase=P.SPEAKING) if phase is P.THINKING else state), []
        case ResponseEnded() | CommandFailed():
            return _ended(state, failed=isinstance(event, CommandFailed))


def _speech_started(state: TurnState, event: SpeechStarted) -> Step:
    phase = state.phase
    if phase is P.INTERRUPTED or (phase in RESPONDING and not event.interrupt):
        return state, []
    # Sound that was sent and not yet heard can be interrupted as well as sound that is made.
    sounding = phase is P.SPEAKING or (phase is P.LISTENING and event.unheard)
    if sounding and event.interrupt and event.delays and not event.again:
        return replace(state, phase=P.INTERRUPTED), [Suspend()]
    hearing = replace(state, phase=P.HEARING)
    if phase in RESPONDING:
        return hearing, [Cancel(by_speech=True)]
    if phase is P.SPECULATING:  # more of the same turn
        return hearing, [Discard()]
    if phase is P.LISTENING and event.interrupt:
        return hearing, [Truncate()]
    return hearing, []


def _confirmed(state: TurnState) -> Step:
    if state.phase is not P.INTERRUPTED:
        return state, []
    return replace(state, phase=P.HEARING), [Discard()]


def _turn_over(state: TurnState, request: Request | None) -> Step:
    if state.phase in RESPONDING:  # the user spoke over it
        return (state if request is None else _waiting(state, request)), []
    if state.phase is P.SPECULATING:
        if request is None:
            return replace(state, phase=P.LISTENING), [Discard()]
        return replace(state, phase=P.THINKING), [Release()]
    state, commands = _confirmed(state)
    if request is None:
        return replace(state, phase=P.LISTENING), commands
    return replace(state, phase=P.THINKING), [*commands, Start(request)]


def _asked(state: TurnState, request: Request, *, follows_call: bool) -> Step:
    if state.phase in RESPONDING:
        if not follows_call:
            raise TurnError("a response is already in progress; cancel it or wait for its end")
        return _waiting(state, request), []
    state, discarded = _stale(state)
    state, confirmed = _confirmed(state)
    return replace(state, phase=P.THINKING), [*discarded, *confirmed, Start(request)]


def _waiting(state: TurnState, request: Request) -> TurnState:
    if len(state.waiting) >= MAX_WAITING:
        raise Overloaded(f"{MAX_WAITING} responses wait for their turn already")
    return replace(state, waiting=(*state.waiting, request))


def _stale(state: TurnState) -> Step:
    if state.phase is not P.SPECULATING:
        return state, []
    return replace(state, phase=P.PAUSING), [Discard()]


def _ended(state: TurnState, *, failed: bool) -> Step:
    """A response ended by itself, or could not be started, released or resumed."""
    if state.phase is P.SPECULATING:
        return _stale(state)
    if state.phase in RESPONDING and not failed:
        return replace(state, phase=P.LISTENING), []
    if state.phase in BUSY:
        return replace(state, phase=P.LISTENING), [Discard()]
    return state, []
