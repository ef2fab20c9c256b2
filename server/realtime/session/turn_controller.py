"""Carries out what the turn machine decides for one session, and feeds back what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from server.http.errors import RequestError
from server.realtime.session.out_of_band import OutOfBandResponses
from server.realtime.session.response_task import ResponseTask
from server.realtime.session.responses import ActiveResponse, ResponseRequest, Responses
from server.realtime.session.state import SessionState
from server.realtime.wire.response_events import error_event
from step_audio.core.errors import StepAudioError, TurnError
from step_audio.dialog.interruptions import InterruptionJudge
from step_audio.dialog.prompting.conversation import UserAudio
from step_audio.dialog.tool_calls.background import note
from step_audio.dialog.turns import machine
from step_audio.dialog.turns.machine import Command, Event, Phase, Request, TurnState
from step_audio.dialog.turns.utterance import SpokenQuestion

_LOG = logging.getLogger(__name__)

CONVERSATION = "conversation"
"""Request for a response to the conversation as it is when the response begins."""
NEWS = "news"
"""Request for a response that tells what came of a tool call, or an announcement."""


class TurnController:
    """The turns of one session.

    Attributes:
        state: what the machine knows; only `_feed` changes it.
        out_of_band: responses outside the conversation, which no turn starts or ends.
    """

    def __init__(self, session_state: SessionState) -> None:
        self.state = TurnState()
        self._session, self._conversation = session_state, session_state.conversation
        self._responses = Responses(session_state)
        services = session_state.assistant.services
        self._clock, self._observe = services.clock, services.recorder.observe
        self._resume_ms = session_state.assistant.settings.turns.resume_ms
        self._judge = InterruptionJudge(
            session_state.assistant, lambda: session_state.config.recognition_hints
        )
        self._current: ActiveResponse | None = None
        self.out_of_band = OutOfBandResponses(self._responses)
        self._events: deque[Event] = deque()
        self._feeding = False
        self._free = asyncio.Event()
        self._free.set()

    # --- what the user does -------------------------------------------------------------------

    def speech(self, *, interrupt: bool, again: bool) -> None:
        """The user began to speak, or goes on after a pause."""
        current = self._current
        unheard = current is not None and self._responses.heard_ms(current) not in (None, 0)
        delays = self._resume_ms > 0 and current is not None
        self._feed(machine.SpeechStarted(interrupt, again, delays, unheard))

    def confirm(self, spoken_ms: int) -> None:
        """The user has spoken for so long: a real interruption, if long enough."""
        if spoken_ms >= self._judge.limit_ms:
            self._feed(machine.SpeechConfirmed())

    def pause(self, item_id: str, question: SpokenQuestion | None) -> None:
        """The user fell silent; with a question, an early response is worth it."""
        early: ResponseRequest | None = None
        if question is not None and self.state.phase is Phase.HEARING:
            fork = self._conversation.fork()
            try:
                fork.add(UserAudio.spoken(item_id, question))
                early = ResponseRequest(self._session.config, conversation=fork)
            except StepAudioError:  # the commit will say what is wrong
                pass
        self._feed(machine.SpeechPaused(early))

    async def words(self, within_s: float) -> str | None:
        """Return what an early response takes the question for; None: there is none, it does not
        say, or not in time."""
        current = self._current
        if self.state.phase is not Phase.SPECULATING or current is None:
            return None
        await current.response_task.begun(within_s)
        question = current.conversation.last_question()
        return question.transcript if isinstance(question, UserAudio) else None

    async def ends_answer(self, sound: SpokenQuestion, spoken_ms: int) -> bool:
        """Return whether a sound that is over ends the response that it interrupted.

        The response waits meanwhile; `judged` tells what to do with it.
        """
        return await self._judge.ends_answer(sound, spoken_ms)

    def judged(self, *, ends: bool) -> None:
        """The sound that interrupted a response ends it, or the response goes on."""
        self._feed(machine.SoundJudged(ends))

    def commit(self, item: UserAudio, duration_s: float) -> None:
        """Add the user's question. Raises Overloaded, DuplicateItem."""
        self._feed(machine.SpeechConfirmed())
        self._session.spoken_s[item.item_id] = duration_s
        if self.state.phase is Phase.SPECULATING and self._current is not None:
            self._conversation.adopt(self._current.conversation)
        else:
            self._conversation.add(item)

    def over(self, *, answer: bool) -> None:
        """The user's turn is over. Raises Overloaded."""
        self._feed(machine.TurnOver(CONVERSATION if answer else None))

    # --- what is known ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a response is under way that the client knows of."""
        return self.state.busy

    @property
    def idle(self) -> bool:
        """Whether nobody speaks and nothing is made."""
        return self.state.phase is Phase.LISTENING

    @property
    def interrupted(self) -> bool:
        """Whether a response waits for the end of a sound that may be no speech."""
        return self.state.phase is Phase.INTERRUPTED

    @property
    def quiet(self) -> bool:
        """Whether a response was given, its sound has been played, and nobody speaks since."""
        current = self._current
        if not self.idle or self.state.user_speaks or current is None:
            return False
        return self._responses.heard_ms(current) is None

    async def free(self) -> None:
        """Wait until no response is under way."""
        await self._free.wait()

    # --- what the client does -----------------------------------------------------------------

    def ask(self, wanted: ResponseRequest) -> None:
        """Answer now, the conversation or the request's own in its place.

        A response that has called a tool of the client is as good as over: this one follows it.

        Raises:
            RequestError: a response is under way. Overloaded.
        """
        follows = self._current is not None and self._current.calls
        try:
            self._feed(machine.ResponseRequested(wanted, follows))
        except TurnError as error:
            raise RequestError(
                str(error), code="conversation_already_has_active_response"
            ) from None

    def cancel(self, response_id: str | None) -> None:
        """Stop a response under way, the conversation's by default. Raises RequestError."""
        if self.out_of_band.cancel(response_id):
            return
        current = self._current
        known = current is not None and response_id in (
            None,
            current.response_id,
            current.last_response_id,
        )
        try:
            if not known:
                raise TurnError("no response of that id")
            self._feed(machine.Cancelled())
        except TurnError:
            raise RequestError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            ) from None

    def adopt(self) -> None:
        """Take what is being said to a context of the client's own into the conversation."""
        current = self._current
        if current is None or not self.busy or current.conversation is self._conversation:
            return
        for item in [*current.conversation][current.begun :]:
            if not self._conversation.has(item.item_id):
                self._conversation.add(item)

    def touch(self) -> None:
        """The conversation or the settings change: an early response no longer holds."""
        self._feed(machine.Stale())

    def deleted(self, item_id: str) -> None:
        """An item was deleted: a response that waits to go on in it has nowhere to go."""
        if self.interrupted and self._current is not None and self._current.answer_id == item_id:
            self._feed(machine.Cancelled())

    # --- what the server wants ----------------------------------------------------------------

    def poke(self) -> None:
        """There is news from a tool: tell it as soon as nobody speaks."""
        if NEWS not in self.state.waiting:  # each response of this kind asks for the next one
            self._report(machine.Wanted(NEWS))

    async def close(self) -> None:
        """Stop what runs."""
        self.state = TurnState()
        answers = self.out_of_band.stop()
        if self._current is not None:
            self._current.response_task.stop()
            answers.append(self._current.response_task)
        for response_task in answers:
            await response_task.stopped()

    # --- the machine --------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Tell the machine and carry out what it says.

        What a command brings about at once is fed when the command is done. A command that raises
        is an event too, so that no phase outlives its response.

        Raises:
            TurnError, Overloaded: the event does not fit; nothing changed.
            StepAudioError: of a command.
        """
        self._events.append(event)
        if self._feeding:
            return
        failure: StepAudioError | None = None
        self._feeding = True
        try:
            while self._events:
                failure = self._step(self._events.popleft()) or failure
        finally:
            self._events.clear()
            self._feeding = False
            (self._free.clear if self.busy else self._free.set)()
        if failure is not None:
            raise failure

    def _step(self, event: Event) -> StepAudioError | None:
        self.state, commands = machine.on(self.state, event)
        for command in commands:
            try:
                self._carry_out(command)
            except StepAudioError as error:
                self._events.appendleft(machine.CommandFailed())
                return error
            except Exception:
                _LOG.exception("turn command failed", extra={"command": type(command).__name__})
                self._events.appendleft(machine.CommandFailed())
                return StepAudioError("internal error; see the server's log")
        return None

    def _report(self, event: Event) -> None:
        """Feed what no client asked for: what is wrong with it is told as an error event."""
        try:
            self._feed(event)
        except StepAudioError as error:
            self._session.send_queue.send(error_event(error, event_id=None))

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, machine.Start):
            self._start(command.request, held=command.held)
            return
        current = self._current
        if current is None:
            return  # nothing was said yet, or it could not be started
        match command:
            case machine.Release():
                current.conversation = self._conversation
                self._observe("speculations.committed", 1)
                self._observe("speculation_saved_s", self._clock.now_s() - current.started_s)
                self._responses.announce(current)
            case machine.Cancel(by_speech):
                reason = "turn_detected" if by_speech else "client_cancelled"
                self._responses.end(current, reason, interrupted=by_speech)
                current.response_task.stop()
            case machine.Discard():
                if current.conversation is not self._conversation:
                    self._observe("speculations.discarded", 1)
                    self._observe("speculation_wasted_ids", current.usage.total)
                current.response_task.stop()
            case machine.Suspend():
                if current.response_id is None:
                    self._responses.cut(current, interrupted=True)
                self._responses.end(current, "turn_detected", interrupted=True)
                current.response_task.suspend()
            case machine.Resume():
                self._responses.go_on(current)
            case machine.Truncate():
                self._responses.cut(current, interrupted=True)

    def _start(self, request: Request, *, held: bool) -> None:
        before = self._current.response_task if self._current else None
        self._current = None
        wanted = self._resolved(request)
        self._current = self._responses.prepare(
            wanted, on_audio=self._audible, on_end=self._ended, after=before
        )
        if not held:
            self._responses.announce(self._current)

    def _resolved(self, request: Request) -> ResponseRequest:
        """Return a request with the settings of now. Raises Overloaded: no room for news."""
        if isinstance(request, ResponseRequest):
            return request
        config, calls = self._session.config, self._session.background_calls
        news = calls.take() if request == NEWS else None
        if calls.news and NEWS not in self.state.waiting:
            self._events.append(machine.Wanted(NEWS))
        if news is None:
            return ResponseRequest(config)
        return ResponseRequest(config.after_calls, text=note(news, self._conversation))

    def _audible(self, response_task: ResponseTask) -> None:
        current = self._current
        if current is None or current.response_task is not response_task:
            return
        current.heard_from_s = self._clock.now_s()
        self._report(machine.FirstAudio())

    def _ended(self, response_task: ResponseTask, failure: StepAudioError | None) -> None:
        current = self._current
        if current is None or current.response_task is not response_task:
            return
        if current.response_id is None:  # an early response that failed
            self._report(machine.ResponseEnded(failed=True))
            return
        self.adopt()
        self._responses.finish(current, failure)
        self._report(machine.ResponseEnded(failed=failure is not None))
