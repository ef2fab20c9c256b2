"""The conversation as clients edit it: items created, read, cut and deleted."""

from __future__ import annotations

from server.http.errors import RequestError
from server.realtime.session.input_audio import spoken
from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from server.realtime.wire.items import domain_item, item_events, wire_item
from step_audio.core.errors import DuplicateItem, ItemNotFound
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import Conversation, Item, UserAudio


class ItemHandlers:
    """Carries out the conversation.item events of one session."""

    def __init__(self, session_state: SessionState, turns: TurnController) -> None:
        self._state, self._assistant, self._send_queue = (
            session_state,
            session_state.assistant,
            session_state.send_queue,
        )
        self._conversation, self._turns = session_state.conversation, turns

    async def create(self, event: wire.ItemCreate) -> None:
        """Add an item. Raises RequestError, AudioError, ItemNotFound, Overloaded."""
        if isinstance(event.item, wire.FunctionOutputItem):
            self._turns.adopt()  # the call may stand in the context of a response under way
        item = await self.item(event.item, self._conversation)
        self._turns.touch()
        try:
            self._conversation.add(item, after=event.previous_item_id)
        except DuplicateItem as error:
            raise RequestError(
                str(error), code="item_create_duplicate_item_id", param="item.id"
            ) from error
        for out in item_events(self._conversation, item):
            self._send_queue.send(out)

    async def context(self, params: wire.ResponseParams) -> Conversation | None:
        """Return what a response is to answer in place of the conversation; None: that.

        Raises:
            RequestError, AudioError, ItemNotFound, DuplicateItem.
        """
        if params.input is None:
            return self._conversation.fork() if params.conversation == "none" else None
        context = Conversation()
        for given in params.input:
            if isinstance(given, wire.ItemReference):
                context.add(self._conversation.get(given.id))
            else:
                context.add(await self.item(given, context))
        return context

    async def item(self, given: wire.ClientItem, conversation: Conversation) -> Item:
        """Return what a client sent as an item for `conversation`, which stays as it is.

        Raises:
            RequestError, AudioError.
        """
        item_id = given.id or f"item_{new_id()}"
        sound = spoken(given)
        if sound is None:
            return domain_item(given, item_id, conversation)
        encoding = self._state.config.input_format
        question = self._assistant.question(encoding.rate_hz)
        pcm = encoding.decode(sound, "item.content")
        for start in range(0, len(pcm), encoding.rate_hz):  # other sessions are heard in between
            await self._assistant.listen(question, pcm[start : start + encoding.rate_hz])
        self._state.spoken_s[item_id] = question.duration_ms / 1000
        return UserAudio.spoken(item_id, await self._assistant.finish(question))

    async def retrieve(self, event: wire.ItemRetrieve) -> None:
        """Show an item. Raises RequestError: it is not there."""
        try:
            item = self._conversation.get(event.item_id)
        except ItemNotFound as error:
            raise RequestError(
                str(error), code="item_retrieve_invalid_item_id", param="item_id"
            ) from error
        self._send_queue.send({"type": "conversation.item.retrieved", "item": wire_item(item)})

    async def truncate(self, event: wire.ItemTruncate) -> None:
        """Cut an answer to what was heard. Raises ItemNotFound."""
        self._turns.touch()
        speed = self._state.speeds.get(event.item_id, 1.0)
        self._conversation.truncate(event.item_id, round(event.audio_end_ms * speed))
        facts = {"content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
        self._send_queue.send(
            {"type": "conversation.item.truncated", "item_id": event.item_id, **facts}
        )

    async def delete(self, event: wire.ItemDelete) -> None:
        """Remove an item. Raises ItemNotFound."""
        self._turns.touch()
        self._conversation.delete(event.item_id)
        self._turns.deleted(event.item_id)
        self._send_queue.send({"type": "conversation.item.deleted", "item_id": event.item_id})
