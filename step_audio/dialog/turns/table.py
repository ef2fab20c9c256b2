"""Who may speak: a table and one pure function. Review the table, not the code."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from step_audio.core.errors import TurnError


class State(Enum):
    """What the session is doing."""

    LISTENING = auto()
    """Nobody speaks: the floor is free."""
    HEARING = auto()
    """The user speaks."""
    PAUSING = auto()
    """The user fell silent; the turn may be over."""
    SPECULATING = auto()
    """The same, and an answer to what was said so far is under way, held back."""
    THINKING = auto()
    """A response runs, nothing of it is audible yet."""
    SPEAKING = auto()
    YIELDING = auto()
    """A sound broke into an answer, which waits: it may have been a cough."""


class Event(Enum):
    """What happened."""

    SPEECH_STARTED = auto()
    """The user speaks, and that ends what runs."""
    PAUSED = auto()
    """A short silence after speech."""
    GUESSED = auto()
    """The pause is worth an early answer."""
    STALE = auto()
    """What an early answer stands on changed, or it failed."""
    COMMITTED = auto()
    """The user's turn is over and an answer is wanted."""
    DROPPED = auto()
    """The user's turn is over and no answer is wanted."""
    DISTURBED = auto()
    """A sound during an answer, which may be speech."""
    CONFIRMED = auto()
    """It is speech."""
    FALSE_ALARM = auto()
    """It was none."""
    FIRST_AUDIO = auto()
    RESPONSE_DONE = auto()
    CLIENT_CANCEL = auto()
    FAILED = auto()


class Action(Enum):
    """What the session must do."""

    START_RESPONSE = auto()
    START_HELD = auto()
    """Start an answer and hold all of it back."""
    RELEASE = auto()
    """Let the held answer out."""
    DISCARD = auto()
    """Stop the held answer; nobody learns of it."""
    CANCEL_RESPONSE = auto()
    SUSPEND = auto()
    """End the response for the client and keep the answer."""
    RESUME = auto()
    """Let the rest of the kept answer out, as a response of its own."""


S, E, A = State, Event, Action

TABLE: Final[dict[tuple[State, Event], tuple[State, tuple[Action, ...]]]] = {
    (S.LISTENING, E.SPEECH_STARTED): (S.HEARING, ()),
    (S.LISTENING, E.COMMITTED): (S.THINKING, (A.START_RESPONSE,)),  # typed, or push to talk
    (S.LISTENING, E.DROPPED): (S.LISTENING, ()),
    (S.LISTENING, E.DISTURBED): (S.YIELDING, (A.SUSPEND,)),  # sent, but not yet heard
    (S.HEARING, E.SPEECH_STARTED): (S.HEARING, ()),
    (S.HEARING, E.PAUSED): (S.PAUSING, ()),
    (S.HEARING, E.COMMITTED): (S.THINKING, (A.START_RESPONSE,)),
    (S.HEARING, E.DROPPED): (S.LISTENING, ()),
    (S.PAUSING, E.SPEECH_STARTED): (S.HEARING, ()),
    (S.PAUSING, E.GUESSED): (S.SPECULATING, (A.START_HELD,)),
    (S.PAUSING, E.COMMITTED): (S.THINKING, (A.START_RESPONSE,)),
    (S.PAUSING, E.DROPPED): (S.LISTENING, ()),
    (S.SPECULATING, E.SPEECH_STARTED): (S.HEARING, (A.DISCARD,)),  # more of the same turn
    (S.SPECULATING, E.COMMITTED): (S.THINKING, (A.RELEASE,)),
    (S.SPECULATING, E.DROPPED): (S.LISTENING, (A.DISCARD,)),
    (S.SPECULATING, E.STALE): (S.PAUSING, (A.DISCARD,)),
    (S.THINKING, E.FIRST_AUDIO): (S.SPEAKING, ()),
    (S.THINKING, E.RESPONSE_DONE): (S.LISTENING, ()),  # an answer in text, or a tool call
    (S.THINKING, E.FAILED): (S.LISTENING, ()),
    (S.THINKING, E.SPEECH_STARTED): (S.HEARING, (A.CANCEL_RESPONSE,)),  # the user goes on
    (S.THINKING, E.CLIENT_CANCEL): (S.LISTENING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.RESPONSE_DONE): (S.LISTENING, ()),
    (S.SPEAKING, E.FAILED): (S.LISTENING, ()),
    (S.SPEAKING, E.SPEECH_STARTED): (S.HEARING, (A.CANCEL_RESPONSE,)),  # barge-in
    (S.SPEAKING, E.CLIENT_CANCEL): (S.LISTENING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.DISTURBED): (S.YIELDING, (A.SUSPEND,)),
    (S.YIELDING, E.CONFIRMED): (S.HEARING, (A.DISCARD,)),
    (S.YIELDING, E.DROPPED): (S.LISTENING, (A.DISCARD,)),
    (S.YIELDING, E.FALSE_ALARM): (S.THINKING, (A.RESUME,)),
}


def step(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """Return the next state and what the session must do. Raises TurnError: no such row."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise TurnError(f"{event.name} while {state.name}") from None
