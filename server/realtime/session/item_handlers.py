"""The conversation as clients edit it: items created, read, cut and deleted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from server.http.errors import RequestError
from server.http.uploads import decoded_base64
from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from server.realtime.wire.audio import AudioDecoder
from server.realtime.wire.items import domain_item, has_sound, item_events, message, wire_item
from step_audio.core.containers import has_marked_head
from step_audio.core.decoding import AudioTooLong
from step_audio.core.errors import AudioError, DuplicateItem, ItemNotFound
from step_audio.core.types import Pcm
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import Conversation, Item
from step_audio.dialog.turns.utterance import SpokenQuestion


class ItemHandlers:
    """Carries out the conversation.item events of one session."""

    def __init__(
        self, session_state: SessionState, turns: TurnController, on_item: Callable[[Item], None]
    ) -> None:
        """Args: `on_item` is told of each item that a client adds."""
        self._state, self._assistant, self._send_queue = (
            session_state,
            session_state.assistant,
            session_state.send_queue,
        )
        self._conversation, self._turns = session_state.conversation, turns
        self._on_item = on_item
        self._warnings: list[dict[str, str]] = []
        """What was skipped of the sound files of the last item."""

    async def create(self, event: wire.ItemCreate) -> None:
        """Add an item. Raises RequestError, ItemNotFound, Overloaded."""
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
        added, done = item_events(self._conversation, item)
        self._send_queue.send(added)
        self._send_queue.send(done | ({"warnings": self._warnings} if self._warnings else {}))
        self._on_item(item)

    async def context(self, params: wire.ResponseParams) -> Conversation | None:
        """Return what a response is to answer in place of the conversation; None: that.

        Raises:
            RequestError, ItemNotFound, DuplicateItem.
        """
        if params.input is None:
            return self._conversation.fork() if params.conversation == "none" else None
        context = Conversation()
        for at, given in enumerate(params.input):
            if isinstance(given, wire.ItemReference):
                context.add(self._conversation.get(given.id))
            else:
                context.add(await self.item(given, context, f"response.input.{at}"))
        return context

    async def item(
        self, given: wire.ClientItem, conversation: Conversation, where: str = "item"
    ) -> Item:
        """Return what a client sent as an item for `conversation`, which stays as it is.

        Args: `where` is its place in the client's event.

        Raises:
            RequestError.
        """
        item_id = given.id or f"item_{new_id()}"
        self._warnings = []
        if not isinstance(given, wire.MessageItem):
            return domain_item(given, item_id, conversation, where)
        decoder = AudioDecoder(self._state.config.input_format)
        sounds, length_ms = list[SpokenQuestion](), 0
        for at, part in enumerate(given.content):
            if not has_sound(given, part):
                continue
            place = f"{where}.content.{at}.audio"
            pcm, rate_hz = await self._samples(part.audio or "", decoder, place)
            question = self._assistant.question(rate_hz)
            try:
                for start in range(0, len(pcm), rate_hz):  # others are heard in between
                    await self._assistant.listen(question, pcm[start : start + rate_hz])
            except AudioError as error:
                raise RequestError(str(error), code=error.code, param=place) from error
            length_ms += question.duration_ms
            sounds.append(await self._assistant.finish(question))
        item = message(given, item_id, sounds, where)
        if sounds:
            self._state.spoken_s[item_id] = length_ms / 1000
        return item

    async def _samples(self, sound: str, decoder: AudioDecoder, place: str) -> tuple[Pcm, int]:
        """Return (samples, rate) of an item's base64: a sound file, or the session's input format.

        A file is known by its first bytes; many clients send one where samples are asked for.

        Raises:
            RequestError.
        """
        if not has_marked_head(_begin(sound)):
            return decoder.push(sound, place), self._state.config.input_format.rate_hz
        max_s = self._assistant.settings.max_question_s
        try:
            heard = await decoded_base64(self._assistant.services, sound, max_s=max_s, param=place)
        except AudioTooLong as error:
            raise RequestError(str(error), code=error.code, param=place) from error
        self._warnings += [
            {"code": "sound_skipped", "message": said, "param": place} for said in heard.warnings
        ]
        return heard.pcm, heard.rate_hz

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


def _begin(sound: str) -> bytes:
    """Return the first bytes of base64; none when it is no base64."""
    try:
        start = sound.find(",") + 1 if sound.startswith("data:") else 0
        return base64.b64decode(sound[start : start + 64])
    except (binascii.Error, ValueError):
        return b""
