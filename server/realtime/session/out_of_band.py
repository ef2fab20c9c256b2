"""Answers beside the conversation: they are asked for with a context of the client's own."""

from __future__ import annotations

from typing import Final

from server.realtime.session.response_task import ResponseTask
from server.realtime.session.responses import ActiveResponse, ResponseRequest, Responses
from step_audio.core.errors import Overloaded, StepAudioError

MAX_ASIDES: Final = 4


class OutOfBandResponses:
    """Those that are under way, whoever speaks."""

    def __init__(self, speaker: Responses) -> None:
        self._speaker = speaker
        self._running: list[ActiveResponse] = []

    def ask(self, wanted: ResponseRequest) -> None:
        """Answer the request's own conversation now. Raises Overloaded: enough are under way."""
        if len(self._running) >= MAX_ASIDES:
            raise Overloaded(f"{MAX_ASIDES} responses beside the conversation are under way; wait")
        speech = self._speaker.prepare(wanted, on_audio=_ignore, on_end=self._ended)
        self._running.append(speech)
        self._speaker.announce(speech)

    def cancel(self, response_id: str | None) -> bool:
        """Stop the one of that id; return whether there was one."""
        for speech in self._running:
            if response_id is not None and response_id == speech.response_id:
                self._speaker.end(speech, "client_cancelled", interrupted=False)
                speech.response_task.stop()
                self._running.remove(speech)
                return True
        return False

    def stop(self) -> list[ResponseTask]:
        """Abort all; return them, for their end to be waited for."""
        answers = [speech.response_task for speech in self._running]
        for response_task in answers:
            response_task.stop()
        return answers

    def _ended(self, response_task: ResponseTask, failure: StepAudioError | None) -> None:
        for speech in self._running:
            if speech.response_task is response_task:
                self._speaker.finish(speech, failure)
                self._running.remove(speech)
                return


def _ignore(_: ResponseTask) -> None:
    """Turns take no notice of sound outside the conversation."""
