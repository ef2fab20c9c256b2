"""Who speaks: feeds the turn table and does what it says, one answer at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from server.http.errors import RequestError
from server.realtime.session.out_of_band import OutOfBandResponses
from server.realtime.session.response_task import ResponseTask
from server.realtime.session.responses import ActiveResponse, ResponseRequest, Responses
from server.realtime.session.state import SessionState
from server.realtime.wire.session_config import SessionConfig
from step_audio.core.errors import Overloaded, StepAudioError, TurnError
from step_audio.core.types import TokenGroup
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.tool_calls.background import note
from step_audio.dialog.turns.table import A, Action, E, Event, S, State, step

MAX_WAITING: Final = 16


class TurnController:
    """The turn machine of one session at work.

    Attributes:
        asides: answers that are given whoever has the floor.
    """

    def __init__(self, session_state: SessionState) -> None:
        self.state: State = S.LISTENING
        self._state, self._conversation = session_state, session_state.conversation
        self._speaker = Responses(session_state)
        services = session_state.assistant.services
        self._clock, self._observe = services.clock, services.recorder.observe
        self._resume_ms = session_state.assistant.settings.turns.resume_ms
        self._current: ActiveResponse | None = None
        self.out_of_band = OutOfBandResponses(self._speaker)
        self._waiting: deque[ResponseRequest | str | None] = deque()
        self._user_speaks = False
        self._free = asyncio.Event()
        self._free.set()

    # --- what the user does -------------------------------------------------------------------

    def speech(self, *, interrupt: bool, again: bool) -> None:
        """The user began to speak, or goes on after a pause."""
        self._user_speaks = True
        audible = self.state in (S.THINKING, S.SPEAKING)
        if self.state is S.YIELDING or (audible and not interrupt):
            return
        if interrupt and self._may_resume() and not again:
            self._feed(E.DISTURBED)
            return
        if interrupt and not audible and self._current is not None:
            # All was sent, and perhaps not all was heard.
            self._speaker.cut(self._current, interrupted=True)
        self._feed(E.SPEECH_STARTED)

    def confirm(self, spoken_ms: int) -> None:
        """The user has spoken for so long: no false alarm, if long enough."""
        if self.state is S.YIELDING and spoken_ms >= self._resume_ms:
            self._feed(E.CONFIRMED)

    def pause(self, item_id: str, groups: tuple[TokenGroup, ...]) -> None:
        """The user fell silent; with groups, an early answer is worth it."""
        if self.state is not S.HEARING:
            return
        self._feed(E.PAUSED)
        if groups:
            fork = self._conversation.fork()
            try:
                fork.add(UserAudio(item_id, groups))
            except StepAudioError:  # the commit will say what is wrong
                return
            self._prepare(ResponseRequest(self._state.config, conversation=fork))
            self._feed(E.GUESSED)

    async def words(self, within_s: float) -> str | None:
        """Return what an early answer takes the question for; None: there is none, it does not
        say, or not in time."""
        current = self._current
        if self.state is not S.SPECULATING or current is None:
            return None
        await current.response_task.begun(within_s)
        question = current.conversation.last_question()
        return question.transcript if isinstance(question, UserAudio) else None

    @property
    def busy(self) -> bool:
        """Whether an answer is under way that the client knows of."""
        return self.state in (S.THINKING, S.SPEAKING, S.YIELDING)

    @property
    def quiet(self) -> bool:
        """Whether an answer was given, its sound has been played, and nobody speaks since."""
        current = self._current
        if self.state is not S.LISTENING or self._user_speaks or current is None:
            return False
        return current.heard_from_s is None or self._speaker.heard_ms(current) is None

    async def free(self) -> None:
        """Wait until no answer is under way."""
        await self._free.wait()

    @property
    def yielding(self) -> bool:
        """Whether an answer waits for the end of a sound that may be no speech."""
        return self.state is S.YIELDING

    def false_alarm(self) -> None:
        """The sound that broke into an answer ended at once: the answer goes on."""
        self._user_speaks = False
        self._feed(E.FALSE_ALARM)

    def commit(self, item: UserAudio, duration_s: float) -> None:
        """Add the user's question. Raises Overloaded, DuplicateItem."""
        if self.state is S.YIELDING:
            self._feed(E.CONFIRMED)
        self._state.spoken_s[item.item_id] = duration_s
        if self.state is S.SPECULATING and self._current is not None:
            self._conversation.adopt(self._current.conversation)
        else:
            self._conversation.add(item)

    def over(self, *, answer: bool) -> None:
        """The user's turn is over."""
        self._user_speaks = False
        if self.state in (S.THINKING, S.SPEAKING):
            if answer:
                self.when_free()
        elif not answer:
            self._feed(E.DROPPED)
        else:
            if self.state is not S.SPECULATING:
                self._prepare(ResponseRequest(self._state.config))
            self._feed(E.COMMITTED)

    # --- what the client does -----------------------------------------------------------------

    def ask(
        self,
        config: SessionConfig,
        metadata: dict[str, Any] | None,
        context: Conversation | None = None,
    ) -> None:
        """Answer now, to the conversation or to `context` in its place.

        An answer that has called a tool of the client is as good as over: this one follows it.

        Raises:
            RequestError: an answer is under way. Overloaded.
        """
        self.touch()
        if self.state is S.YIELDING:
            self._feed(E.CONFIRMED)
        if self.busy and self._current is not None and self._current.calls:
            self.when_free(ResponseRequest(config, metadata, context))
            return
        if self.state not in (S.LISTENING, S.HEARING, S.PAUSING):
            raise RequestError(
                "a response is already in progress; cancel it or wait for response.done",
                code="conversation_already_has_active_response",
            )
        self._prepare(ResponseRequest(config, metadata, context))
        self._feed(E.COMMITTED)

    def cancel(self, response_id: str | None) -> None:
        """Stop a response under way, the conversation's by default. Raises RequestError."""
        if self.out_of_band.cancel(response_id):
            return
        running = self._current.response_id if self._current else None
        try:
            if running is None or response_id not in (None, running):
                raise TurnError("nothing to cancel")
            self._feed(E.CLIENT_CANCEL)
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
        """The conversation or the settings change: an early answer no longer holds."""
        if self.state is S.SPECULATING:
            self._feed(E.STALE)

    # --- what the server wants ----------------------------------------------------------------

    def when_free(self, wish: ResponseRequest | str | None = None) -> None:
        """Answer the conversation as it then is, or say a text, as soon as nobody speaks.

        Raises:
            Overloaded: too much waits already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many answers wait for the floor")
        self._waiting.append(wish)
        self._next()

    def poke(self) -> None:
        """There is news from a tool: tell it as soon as nobody speaks."""
        self._next()

    async def close(self) -> None:
        """Stop what runs."""
        self._waiting.clear()
        answers = self.out_of_band.stop()
        if self._current is not None:
            self._current.response_task.stop()
            answers.append(self._current.response_task)
        for response_task in answers:
            await response_task.stopped()

    # --- the machine --------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self.state, actions = step(self.state, event)
        for action in actions:
            self._do(action)
        self._next()
        (self._free.clear if self.busy else self._free.set)()

    def _do(self, action: Action) -> None:
        current = self._current
        assert current is not None
        if action is A.START_RESPONSE:
            self._speaker.announce(current)
        elif action is A.RELEASE:
            current.conversation = self._conversation
            self._observe("speculations.committed", 1)
            self._observe("speculation_saved_s", self._clock.now_s() - current.started_s)
            self._speaker.announce(current)
        elif action is A.CANCEL_RESPONSE:
            reason = "turn_detected" if self._user_speaks else "client_cancelled"
            self._speaker.end(current, reason, interrupted=self._user_speaks)
            current.response_task.stop()
        elif action is A.DISCARD:
            if current.conversation is not self._conversation:
                self._observe("speculations.discarded", 1)
            current.response_task.stop()
        elif action is A.SUSPEND:
            if current.response_id is None:
                self._speaker.cut(current, interrupted=True)
            self._speaker.end(current, "turn_detected", interrupted=True)
            current.response_task.suspend()
        elif action is A.RESUME:
            self._speaker.go_on(current)

    def _prepare(self, wanted: ResponseRequest) -> None:
        before = self._current.response_task if self._current else None
        self._current = self._speaker.prepare(
            wanted, on_audio=self._audible, on_end=self._ended, after=before
        )

    def _audible(self, response_task: ResponseTask) -> None:
        current = self._current
        if current is None or current.response_task is not response_task:
            return
        current.heard_from_s = self._clock.now_s()
        if self.state is S.THINKING:
            self._feed(E.FIRST_AUDIO)

    def _ended(self, response_task: ResponseTask, failure: StepAudioError | None) -> None:
        current = self._current
        if current is None or current.response_task is not response_task:
            return
        if current.response_id is None:  # an early answer that failed
            self.touch()
            return
        self.adopt()
        self._speaker.finish(current, failure)
        self._feed(E.FAILED if failure else E.RESPONSE_DONE)

    def _next(self) -> None:
        """Give the floor to what waits for it, once nobody has it."""
        if self.state is not S.LISTENING:
            return
        if self._user_speaks:  # over an answer that was not to be interrupted
            self.state, _ = step(self.state, E.SPEECH_STARTED)
        elif self._waiting:
            wish = self._waiting.popleft()
            asked = (
                wish
                if isinstance(wish, ResponseRequest)
                else ResponseRequest(self._state.config, text=wish)
            )
            self._prepare(asked)
            self._feed(E.COMMITTED)
        elif (news := self._state.background_calls.take()) is not None:
            text = note(news, self._conversation)
            self._prepare(ResponseRequest(self._state.config.after_calls, text=text))
            self._feed(E.COMMITTED)

    def _may_resume(self) -> bool:
        current = self._current
        if not self._resume_ms or current is None:
            return False
        if self.state is S.LISTENING:
            return self._speaker.heard_ms(current) not in (None, 0)
        return self.state is S.SPEAKING
