"""Who may speak: a table and one pure function. Review the table, not the code."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from step_audio.core.errors import TurnError


class State(Enum):
    """What the session is doing."""

    LISTENING = auto()
    THINKING = auto()
    """A response runs, nothing of it is audible yet."""
    SPEAKING = auto()


class Event(Enum):
    """What happened."""

    SPEECH_STARTED = auto()
    COMMITTED = auto()
    """The user's turn is over and an answer is wanted."""
    FIRST_AUDIO = auto()
    RESPONSE_DONE = auto()
    CLIENT_CANCEL = auto()
    FAILED = auto()


class Action(Enum):
    """What the session must do."""

    START_RESPONSE = auto()
    CANCEL_RESPONSE = auto()


S, E, A = State, Event, Action

TABLE: Final[dict[tuple[State, Event], tuple[State, tuple[Action, ...]]]] = {
    (S.LISTENING, E.SPEECH_STARTED): (S.LISTENING, ()),
    (S.LISTENING, E.COMMITTED): (S.THINKING, (A.START_RESPONSE,)),
    (S.THINKING, E.FIRST_AUDIO): (S.SPEAKING, ()),
    (S.THINKING, E.RESPONSE_DONE): (S.LISTENING, ()),  # an answer in text, or a tool call
    (S.THINKING, E.FAILED): (S.LISTENING, ()),
    (S.THINKING, E.SPEECH_STARTED): (S.LISTENING, (A.CANCEL_RESPONSE,)),  # the user goes on
    (S.THINKING, E.CLIENT_CANCEL): (S.LISTENING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.RESPONSE_DONE): (S.LISTENING, ()),
    (S.SPEAKING, E.FAILED): (S.LISTENING, ()),
    (S.SPEAKING, E.SPEECH_STARTED): (S.LISTENING, (A.CANCEL_RESPONSE,)),  # barge-in
    (S.SPEAKING, E.CLIENT_CANCEL): (S.LISTENING, (A.CANCEL_RESPONSE,)),
}


def step(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """Return the next state and what the session must do. Raises TurnError: no such row."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise TurnError(f"{event.name} while {state.name}") from None
