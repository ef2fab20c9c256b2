import pytest

from step_audio.core.errors import TurnError
from step_audio.dialog.turns.table import TABLE, A, Action, E, Event, S, State, step

ROWS = [
    (S.LISTENING, E.SPEECH_STARTED, S.HEARING, ()),
    (S.LISTENING, E.COMMITTED, S.THINKING, (A.START_RESPONSE,)),
    (S.LISTENING, E.DROPPED, S.LISTENING, ()),
    (S.LISTENING, E.DISTURBED, S.YIELDING, (A.SUSPEND,)),
    (S.HEARING, E.SPEECH_STARTED, S.HEARING, ()),
    (S.HEARING, E.PAUSED, S.PAUSING, ()),
    (S.HEARING, E.COMMITTED, S.THINKING, (A.START_RESPONSE,)),
    (S.HEARING, E.DROPPED, S.LISTENING, ()),
    (S.PAUSING, E.SPEECH_STARTED, S.HEARING, ()),
    (S.PAUSING, E.GUESSED, S.SPECULATING, (A.START_HELD,)),
    (S.PAUSING, E.COMMITTED, S.THINKING, (A.START_RESPONSE,)),
    (S.PAUSING, E.DROPPED, S.LISTENING, ()),
    (S.SPECULATING, E.SPEECH_STARTED, S.HEARING, (A.DISCARD,)),
    (S.SPECULATING, E.COMMITTED, S.THINKING, (A.RELEASE,)),
    (S.SPECULATING, E.DROPPED, S.LISTENING, (A.DISCARD,)),
    (S.SPECULATING, E.STALE, S.PAUSING, (A.DISCARD,)),
    (S.THINKING, E.FIRST_AUDIO, S.SPEAKING, ()),
    (S.THINKING, E.RESPONSE_DONE, S.LISTENING, ()),
    (S.THINKING, E.FAILED, S.LISTENING, ()),
    (S.THINKING, E.SPEECH_STARTED, S.HEARING, (A.CANCEL_RESPONSE,)),
    (S.THINKING, E.CLIENT_CANCEL, S.LISTENING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.RESPONSE_DONE, S.LISTENING, ()),
    (S.SPEAKING, E.FAILED, S.LISTENING, ()),
    (S.SPEAKING, E.SPEECH_STARTED, S.HEARING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.CLIENT_CANCEL, S.LISTENING, (A.CANCEL_RESPONSE,)),
    (S.SPEAKING, E.DISTURBED, S.YIELDING, (A.SUSPEND,)),
    (S.YIELDING, E.CONFIRMED, S.HEARING, (A.DISCARD,)),
    (S.YIELDING, E.DROPPED, S.LISTENING, (A.DISCARD,)),
    (S.YIELDING, E.FALSE_ALARM, S.THINKING, (A.RESUME,)),
]


@pytest.mark.parametrize(("state", "event", "after", "actions"), ROWS)
def test_row(state: State, event: Event, after: State, actions: tuple[Action, ...]) -> None:
    assert step(state, event) == (after, actions)


def test_every_row_is_tested() -> None:
    assert {(state, event) for state, event, _, _ in ROWS} == set(TABLE)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_what_the_table_does_not_name_is_refused(state: State, event: Event) -> None:
    if (state, event) not in TABLE:
        with pytest.raises(TurnError, match=f"{event.name} while {state.name}"):
            step(state, event)


def test_a_response_that_starts_can_always_be_cancelled() -> None:
    for state, actions in TABLE.values():
        if {A.START_RESPONSE, A.RELEASE, A.RESUME} & set(actions):
            assert step(state, E.CLIENT_CANCEL) == (S.LISTENING, (A.CANCEL_RESPONSE,))


def test_an_answer_that_is_kept_back_always_gets_out_or_is_stopped() -> None:
    kept = {after for after, actions in TABLE.values() if {A.START_HELD, A.SUSPEND} & set(actions)}
    for (state, _), (after, actions) in TABLE.items():
        if state in kept:
            assert after not in kept
            assert {A.RELEASE, A.RESUME, A.DISCARD} & set(actions)
