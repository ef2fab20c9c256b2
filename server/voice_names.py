"""Voices by the names that clients send: ours, and the stock names of OpenAI and StepFun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel

from server.http.errors import RequestError
from step_audio.core.errors import VoiceNotFound
from step_audio.dialog.assistant import Assistant

STOCK: Final = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
"""What OpenAI's clients offer; tools that people point here send one of them unasked."""
STEPFUN: Final = (
    *("jingdiannvsheng", "cixingnansheng", "qingchunshaonv", "wenrounansheng"),
    *("linjiajiejie", "yuanqinansheng", "linjiameimei", "zhengpaiqingnian"),
    *("zhixingjiejie", "ruyananshi", "wenjingxuejie", "boyinnansheng"),
)
"""What StepFun's clients offer, and send with every update."""


class VoiceId(BaseModel):
    """A voice in its object form."""

    id: str


class VoiceNames:
    """Turns a name of a request into the name of a voice that is there.

    Args:
        assistant: whose voices there are, and which is the default.
        chosen: the operator's voice for a name.
    """

    def __init__(self, assistant: Assistant, chosen: Mapping[str, str]) -> None:
        self._assistant, self._services = assistant, assistant.services
        self._chosen = chosen

    async def resolve_field(self, voice: str | VoiceId | None, param: str) -> str:
        """Return a voice of the store. Raises RequestError: an unknown name, in field `param`."""
        try:
            return await self._assistant.with_voices(lambda: self.resolve(voice))
        except VoiceNotFound as error:
            raise RequestError(str(error), code=error.code, param=param) from error

    def resolve(self, voice: str | VoiceId | None) -> str:
        """Return a voice of the store; reads the disk: call it in a worker thread.

        A name of the store is itself. Then the operator's choice holds, then the stock names,
        dealt out over the voices that shipped, so that two of them are not all one. A blank name
        is none. What is not known as it is written is looked for in small letters.

        Raises:
            VoiceNotFound: an unknown name; it lists what there is.
        """
        name = (voice.id if isinstance(voice, VoiceId) else voice or "").strip()
        store = self._services.voices
        known = store.names()
        if not name:
            return self._services.default_voice
        for meant in (name, name.lower()):
            chosen = meant if meant in known else self._chosen.get(meant, meant)
            if chosen in known:
                return chosen
            for stock in (STOCK, STEPFUN):
                if chosen in stock:
                    shipped = self._shipped()
                    return shipped[stock.index(chosen) % len(shipped)]
        return store.get(self._chosen.get(name, name)).name

    def _shipped(self) -> Sequence[str]:
        """Return the names that do not change while the system runs."""
        names, library = self._services.voices.names(), self._services.voice_library
        if library is None:
            return names
        return [name for name in names if library.facts(name).built_in] or names
