"""Conversations that a client keeps and recites with each response, as StepFun's clients do.

Between two `session.restore` the session holds what one turn adds: a spoken question, a typed one,
the result of a call. A response answers the client's `history` with these behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from server.realtime.session.input_audio import InputAudio
from server.realtime.session.item_handlers import ItemHandlers
from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from step_audio.dialog.prompting.conversation import (
    Called,
    Conversation,
    Item,
    MultiPartMessage,
    Returned,
    Typed,
    UserAudio,
)

MAX_CALLS: Final = 32
"""Newest calls of the client's tools whose results may still come after a restore."""


class ClientHistory:
    """The turns of one session without a memory of its own."""

    def __init__(
        self,
        session_state: SessionState,
        turns: TurnController,
        hearing: InputAudio,
        history: ItemHandlers,
    ) -> None:
        self._conversation, self._send_queue = session_state.conversation, session_state.send_queue
        self._turns, self._hearing, self._history = turns, hearing, history
        self._answered: set[str] = set()

    async def context(self, given: list[wire.ClientItem]) -> Conversation:
        """Return what a response is to answer: a client's history, then the turn.

        Ids of history name items of the client's own book, also several by one name; here each
        gets a fresh one.

        Raises:
            RequestError, Overloaded.
        """
        context = Conversation()
        for at, recited in enumerate(given):
            if isinstance(recited, wire.FunctionOutputItem):
                self._call_before(recited.call_id, context)
            unnamed = recited.model_copy(update={"id": None})
            context.add(await self._history.item(unnamed, context, f"response.history.{at}"))
        told = {item.result.call_id for item in context if isinstance(item, Returned)}
        for item in self._turn():
            if isinstance(item, Returned):
                if item.result.call_id in told:
                    continue
                self._call_before(item.result.call_id, context)
            context.add(item)
        return context

    def answered(self) -> None:
        """Note that the turn so far is being answered."""
        self._answered |= {item.item_id for item in self._turn()}

    def restore(self) -> None:
        """Stop what runs and forget the turn; results of calls may still come."""
        if self._turns.busy:
            self._turns.cancel(None)
        self._hearing.forget()
        calls = [at.item_id for at in self._conversation if isinstance(at, Called)]
        for item in self._conversation:
            if item.item_id not in calls[-MAX_CALLS:]:
                self._conversation.delete(item.item_id)
        self._answered.clear()
        self._send_queue.send({"type": "session.restored"})

    def _turn(self) -> Iterator[Item]:
        """Yield what the client has added and no response has answered yet."""
        for item in self._conversation:
            own = isinstance(item, UserAudio | Typed | MultiPartMessage)
            own = own or (isinstance(item, Returned) and not item.internal)
            if own and item.item_id not in self._answered:
                yield item

    def _call_before(self, call_id: str, context: Conversation) -> None:
        """Put a call that only this session knows in front of its result."""
        if context.has_call(call_id):
            return
        for item in self._conversation:
            if isinstance(item, Called) and item.call.call_id == call_id:
                context.add(item)
