"""The words of a recording, asked of the model that also answers."""

from __future__ import annotations

from contextlib import aclosing

from step_audio.core.types import Pcm, TextDelta, Transcript
from step_audio.dialog.conversation import Conversation, UserAudio
from step_audio.dialog.prompts import load_prompt
from step_audio.dialog.session import Assistant


class ModelTranscriber:
    """A `Transcriber` for models that write down what they hear before they answer (nano) and
    for those that are told to transcribe."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    async def transcribe(self, pcm: Pcm, rate_hz: int) -> str:
        """Return the words, "" for none.

        Raises:
            AudioError: longer than a question may be.
            EngineError: the engine broke or was late.
        """
        question = self._assistant.question(rate_hz)
        await self._assistant.listen(question, pcm)
        conversation = Conversation()
        conversation.add(UserAudio("recording", await self._assistant.finish(question)))
        answer = self._assistant.answer(
            conversation, instructions=load_prompt("transcribe"), aloud=False
        )
        text = ""
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Transcript):
                    return event.text.strip()
                if isinstance(event, TextDelta):
                    text += event.text
        return text.strip()
