"""The words of a recording, asked of the model that also answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from step_audio.core.errors import CannotTranscribe
from step_audio.core.types import Pcm, SamplingParams, TextDelta, TokenGroup, Transcript
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.tool_calls.tool_choice import NO_TOOLS


async def groups_of(assistant: Assistant, pcm: Pcm, rate_hz: int) -> tuple[TokenGroup, ...]:
    """Return the groups of a recording, (T,); other streams are heard in between.

    Raises:
        AudioError: longer than a question may be.
    """
    question = assistant.question(rate_hz)
    for start in range(0, len(pcm), rate_hz):
        await assistant.listen(question, pcm[start : start + rate_hz])
    return await assistant.finish(question)


class ModelTranscriber:
    """Words of recordings, for models that write down what they hear before they answer (nano) and
    for those that are told to transcribe."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    async def transcribe(self, pcm: Pcm, rate_hz: int) -> str:
        """Return the words, "" for none.

        Raises:
            AudioError: longer than a question may be.
            EngineError: the engine broke or was late.
        """
        return await transcript_of(self._assistant, await groups_of(self._assistant, pcm, rate_hz))


async def transcript_of(
    assistant: Assistant,
    groups: tuple[TokenGroup, ...],
    *,
    among: Sequence[str] = (),
    sampling: SamplingParams | None = None,
) -> str:
    """Return the words of a question that is heard already, "" for none.

    Args:
        assistant: whose model listens.
        groups: of the sound.
        among: the words are one of these phrases, where the model writes transcripts; none: any.
        sampling: instead of the settings'.

    Raises:
        CannotTranscribe: the model was not taught to.
        EngineError: the engine broke or was late.
    """
    prompt = assistant.settings.transcribe_prompt
    if not prompt:
        raise CannotTranscribe(assistant.services.model_name)
    conversation = Conversation()
    conversation.add(UserAudio("recording", groups))
    answer = assistant.answer(
        conversation,
        instructions=load_prompt(prompt),
        sampling=sampling,
        choice=NO_TOOLS,
        aloud=False,
        heard_among=among,
    )
    text = ""
    async with aclosing(answer) as events:
        async for event in events:
            if isinstance(event, Transcript):
                return event.text.strip()
            if isinstance(event, TextDelta):
                text += event.text
    return text.strip()
