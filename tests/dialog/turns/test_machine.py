"""The turn machine: what each event does in each phase, and what holds after any sequence."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from step_audio.core.errors import Overloaded, TurnError
from step_audio.dialog.turns.machine import (
    BUSY,
    MAX_WAITING,
    Cancel,
    Cancelled,
    Command,
    CommandFailed,
    Discard,
    Event,
    FirstAudio,
    Phase,
    Release,
    ResponseEnded,
    ResponseRequested,
    Resume,
    SoundJudged,
    SpeechConfirmed,
    SpeechPaused,
    SpeechStarted,
    Stale,
    Start,
    Suspend,
    Truncate,
    TurnOver,
    TurnState,
    Wanted,
    on,
)

P = Phase
DELAYS = SpeechStarted(delays=True)
OVER, NO_ANSWER = TurnOver("r"), TurnOver(None)

ROWS: list[tuple[Phase, Event, Phase, list[Command]]] = [
    (P.LISTENING, SpeechStarted(), P.HEARING, [Truncate()]),
    (P.LISTENING, SpeechStarted(interrupt=False), P.HEARING, []),
    (P.LISTENING, SpeechStarted(delays=True, unheard=True), P.INTERRUPTED, [Suspend()]),
    (P.LISTENING, DELAYS, P.HEARING, [Truncate()]),
    (P.LISTENING, OVER, P.THINKING, [Start("r")]),
    (P.LISTENING, NO_ANSWER, P.LISTENING, []),
    (P.LISTENING, ResponseRequested("r"), P.THINKING, [Start("r")]),
    (P.LISTENING, Wanted("r"), P.THINKING, [Start("r")]),
    (P.LISTENING, SpeechPaused("r"), P.LISTENING, []),
    (P.LISTENING, ResponseEnded(), P.LISTENING, []),
    (P.HEARING, SpeechStarted(again=True), P.HEARING, []),
    (P.HEARING, SpeechPaused(), P.PAUSING, []),
    (P.HEARING, SpeechPaused("r"), P.SPECULATING, [Start("r", held=True)]),
    (P.HEARING, OVER, P.THINKING, [Start("r")]),
    (P.HEARING, ResponseRequested("r"), P.THINKING, [Start("r")]),
    (P.HEARING, NO_ANSWER, P.LISTENING, []),
    (P.PAUSING, SpeechStarted(again=True), P.HEARING, []),
    (P.PAUSING, OVER, P.THINKING, [Start("r")]),
    (P.PAUSING, ResponseRequested("r"), P.THINKING, [Start("r")]),
    (P.PAUSING, NO_ANSWER, P.LISTENING, []),
    (P.SPECULATING, SpeechStarted(again=True), P.HEARING, [Discard()]),
    (P.SPECULATING, OVER, P.THINKING, [Release()]),
    (P.SPECULATING, NO_ANSWER, P.LISTENING, [Discard()]),
    (P.SPECULATING, Stale(), P.PAUSING, [Discard()]),
    (P.SPECULATING, ResponseEnded(failed=True), P.PAUSING, [Discard()]),
    (P.SPECULATING, ResponseRequested("r"), P.THINKING, [Discard(), Start("r")]),
    (P.THINKING, FirstAudio(), P.SPEAKING, []),
    (P.THINKING, ResponseEnded(), P.LISTENING, []),
    (P.THINKING, ResponseEnded(failed=True), P.LISTENING, []),
    (P.THINKING, CommandFailed(), P.LISTENING, [Discard()]),
    (P.THINKING, SpeechStarted(), P.HEARING, [Cancel(by_speech=True)]),
    (P.THINKING, SpeechStarted(interrupt=False), P.THINKING, []),
    (P.THINKING, Cancelled(), P.LISTENING, [Cancel(by_speech=False)]),
    (P.SPEAKING, FirstAudio(), P.SPEAKING, []),
    (P.SPEAKING, ResponseEnded(), P.LISTENING, []),
    (P.SPEAKING, SpeechStarted(), P.HEARING, [Cancel(by_speech=True)]),
    (P.SPEAKING, DELAYS, P.INTERRUPTED, [Suspend()]),
    (P.SPEAKING, Cancelled(), P.LISTENING, [Cancel(by_speech=False)]),
    (P.SPEAKING, SpeechConfirmed(), P.SPEAKING, []),
    (P.INTERRUPTED, SpeechStarted(), P.INTERRUPTED, []),
    (P.INTERRUPTED, SpeechConfirmed(), P.HEARING, [Discard()]),
    (P.INTERRUPTED, SoundJudged(ends=False), P.THINKING, [Resume()]),
    (P.INTERRUPTED, SoundJudged(ends=True), P.HEARING, [Discard()]),
    # Cancelled, confirmed or deleted while it was judged.
    (P.LISTENING, SoundJudged(ends=False), P.LISTENING, []),
    (P.HEARING, SoundJudged(ends=False), P.HEARING, []),
    (P.HEARING, SoundJudged(ends=True), P.HEARING, []),
    (P.THINKING, SoundJudged(ends=True), P.THINKING, []),
    (P.SPEAKING, SoundJudged(ends=False), P.SPEAKING, []),
    (P.INTERRUPTED, OVER, P.THINKING, [Discard(), Start("r")]),
    (P.INTERRUPTED, NO_ANSWER, P.LISTENING, [Discard()]),
    (P.INTERRUPTED, ResponseRequested("r"), P.THINKING, [Discard(), Start("r")]),
    (P.INTERRUPTED, Cancelled(), P.LISTENING, [Discard()]),
    (P.INTERRUPTED, CommandFailed(), P.LISTENING, [Discard()]),
]


@pytest.mark.parametrize(("phase", "event", "after", "commands"), ROWS)
def test_row(phase: Phase, event: Event, after: Phase, commands: list[Command]) -> None:
    state, done = on(TurnState(phase), event)
    # Whoever speaks over a response is heard when it ends; no row here is about that.
    assert (state.phase, done) == (after, commands)


REFUSED: list[tuple[Phase, Event]] = [
    *((phase, Cancelled()) for phase in Phase if phase not in BUSY),
    (P.THINKING, ResponseRequested("r")),
    (P.SPEAKING, ResponseRequested("r")),
]


@pytest.mark.parametrize(("phase", "event"), REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(phase: Phase, event: Event) -> None:
    with pytest.raises(TurnError):
        on(TurnState(phase), event)


def test_a_response_that_follows_a_call_waits_for_the_end_of_the_one_that_called() -> None:
    state, commands = on(TurnState(P.SPEAKING), ResponseRequested("next", follows_call=True))
    assert (state.waiting, commands) == (("next",), [])
    state, commands = on(state, ResponseEnded())
    assert (state.phase, state.waiting, commands) == (P.THINKING, (), [Start("next")])


def test_speech_over_a_response_that_goes_on_is_heard_when_it_ends() -> None:
    state, _ = on(TurnState(P.SPEAKING), SpeechStarted(interrupt=False))
    state, commands = on(state, ResponseEnded())
    assert (state.phase, commands) == (P.HEARING, [])
    state, _ = on(replace(state, phase=P.SPEAKING), OVER)
    assert state.waiting == ("r",)


def test_only_so_many_responses_wait() -> None:
    state = TurnState(P.SPEAKING, waiting=tuple(range(MAX_WAITING)))
    with pytest.raises(Overloaded):
        on(state, Wanted("one more"))


class Session(RuleBasedStateMachine):
    """The machine with an executor whose commands may fail, fed with whatever may happen."""

    reports_failures = True

    def __init__(self) -> None:
        super().__init__()
        self.state = TurnState()
        self.response: str | None = None  # none, "held", "shown" or "suspended"
        self.speaks = False

    def feed(self, event: Event, *, fails: bool = False) -> None:
        events = [event]
        while events:
            self.state, commands = on(self.state, events.pop())
            for command in commands:
                if fails and not isinstance(command, Cancel | Discard):
                    fails = False
                    if self.reports_failures:
                        events.append(CommandFailed())
                    break
                self.carry_out(command)

    def carry_out(self, command: Command) -> None:
        match command:
            case Start(_, held):
                assert self.response is None, "a response starts over another one"
                self.response = "held" if held else "shown"
            case Release():
                assert self.response == "held"
                self.response = "shown"
            case Suspend():
                # Also of a response all of whose sound was sent.
                self.response = "suspended"
            case Resume():
                assert self.response == "suspended"
                self.response = "shown"
            case Cancel() | Discard():
                self.response = None

    @rule(interrupt=st.booleans(), delays=st.booleans(), unheard=st.booleans(), fails=st.booleans())
    def speech(self, interrupt: bool, delays: bool, unheard: bool, fails: bool) -> None:
        self.feed(SpeechStarted(interrupt, self.speaks, delays, unheard), fails=fails)
        self.speaks = True

    @rule(early=st.booleans(), fails=st.booleans())
    def pause(self, early: bool, fails: bool) -> None:
        self.feed(SpeechPaused("early" if early else None), fails=fails)

    @rule(ends=st.booleans(), fails=st.booleans())
    def sound_is_judged(self, ends: bool, fails: bool) -> None:
        """At any time: what it was may come long after."""
        if self.state.phase is P.INTERRUPTED and not ends:
            self.speaks = False
        self.feed(SoundJudged(ends), fails=fails)

    @rule(answer=st.booleans(), fails=st.booleans())
    def turn_over(self, answer: bool, fails: bool) -> None:
        self.speaks = False
        try:
            self.feed(TurnOver("answer" if answer else None), fails=fails)
        except Overloaded:
            assert len(self.state.waiting) == MAX_WAITING

    @rule(follows=st.booleans(), fails=st.booleans())
    def ask(self, follows: bool, fails: bool) -> None:
        before = self.state
        try:
            self.feed(ResponseRequested("asked", follows), fails=fails)
        except TurnError:
            assert self.state == before
            assert self.response == "shown"
        except Overloaded:
            assert self.state == before

    @rule(fails=st.booleans())
    def want(self, fails: bool) -> None:
        try:
            self.feed(Wanted("wanted"), fails=fails)
        except Overloaded:
            assert len(self.state.waiting) == MAX_WAITING

    @rule()
    def cancel(self) -> None:
        before = self.state
        try:
            self.feed(Cancelled())
        except TurnError:
            assert self.state == before
            assert self.response in (None, "held")

    @rule(event=st.sampled_from([Stale(), SpeechConfirmed()]))
    def other(self, event: Event) -> None:
        self.feed(event)

    @rule()
    def first_audio(self) -> None:
        if self.response == "shown":
            self.feed(FirstAudio())

    @rule(failed=st.booleans(), fails=st.booleans())
    def response_ends(self, failed: bool, fails: bool) -> None:
        if self.response == "shown" or (failed and self.response == "held"):
            self.response = None
            self.feed(ResponseEnded(failed), fails=fails)

    @invariant()
    def busy_if_and_only_if_a_response_exists(self) -> None:
        assert self.state.busy == (self.response in ("shown", "suspended")), self.state
        assert (self.state.phase is P.SPECULATING) == (self.response == "held"), self.state

    @invariant()
    def a_response_can_be_asked_for_or_cancelled(self) -> None:
        possible = 0
        for event in (ResponseRequested("r"), Cancelled()):
            try:
                on(self.state, event)
            except TurnError:
                continue
            possible += 1
        assert possible, self.state

    @invariant()
    def nothing_waits_while_nobody_speaks(self) -> None:
        assert not (self.state.waiting and self.state.phase is P.LISTENING)


def run(machine: type[Session], sequences: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_after_any_sequence_nobody_is_stuck() -> None:
    """300 sequences; STEP_AUDIO_SEQUENCES=10000 tries as many."""
    run(Session, int(os.environ.get("STEP_AUDIO_SEQUENCES", "300")))


def test_a_state_that_is_set_before_a_command_that_fails_is_found() -> None:
    """The fault that left sessions thinking with no response: nobody hears of the failure."""

    class Planted(Session):
        reports_failures = False

    with pytest.raises(AssertionError):
        run(Planted, 300)
