"""A conversation as the turns of a prompt: what is shown as sound, what by its words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Item,
    Returned,
    Typed,
    UserAudio,
    is_question,
    last_question,
)
from step_audio.dialog.prompting.prompt import Audio, Call, Heard, Part, Spoken, Text, Turn


def turns(
    conversation: Conversation,
    system: str,
    *,
    recent_audio: int = 0,
    until: str | None = None,
    coming: UserAudio | None = None,
) -> list[Turn]:
    """Return a conversation as prompt turns, the newest question as sound.

    Args:
        conversation: what was said.
        system: text of the system turn; "" for none.
        recent_audio: the newest so many exchanges before the question, up to twice as many
            less one, are shown as sound; all older ones by their words, a fourteenth of the
            ids. The boundary moves in steps, so that prompts mostly grow at their end.
        until: the last item to show, None for all. What a user adds while an answer runs
            is not part of what is being answered.
        coming: shown behind all others: a question that is still being spoken.

    Raises:
        ItemNotFound: `until` is not there (any more).
    """
    shown = _results_as_called([*conversation.up_to(until), *([coming] if coming else ())])
    question = last_question(shown)
    sounding = _sounding(shown, recent_audio)
    out = [Turn("system", (Text(system),))] if system else []
    heard: str | None = None  # transcript owed to the next assistant turn
    for at, item in enumerate(shown):
        as_sound = at >= sounding or item is question
        if isinstance(item, UserAudio):
            sound = as_sound or item.transcript is None
            heard = item.transcript if sound else None
            out.append(Turn("human", (_question_part(item, sound=sound),)))
            continue
        turn = _turn(item, as_sound=at >= sounding)
        if turn.role == "assistant" and heard is not None:
            turn = Turn(turn.role, (Heard(heard), *turn.parts))
            heard = None
        out.append(turn)
    return out


def _results_as_called(items: Sequence[Item]) -> list[Item]:
    """Return items with results that stand together in the order of their calls.

    Nothing but the order tells a model which result is whose.
    """
    called = {item.call.call_id: at for at, item in enumerate(items) if isinstance(item, Called)}

    def place(item: Item) -> int:
        return called.get(item.result.call_id, -1) if isinstance(item, Returned) else -1

    runs = groupby(items, lambda item: isinstance(item, Returned))
    return [item for _, run in runs for item in sorted(run, key=place)]


def _sounding(items: Sequence[Item], recent: int) -> int:
    """Return the index from which items are shown as sound."""
    asked = [at for at, item in enumerate(items) if is_question(item)]
    if recent < 1 or not asked:
        return len(items)
    return asked[max(0, ((len(asked) - 1) // recent - 1) * recent)]


def _question_part(item: UserAudio, *, sound: bool) -> Part:
    return Audio(item.groups) if sound else Text(item.transcript or "")


def _turn(item: Typed | Answer | Called | Returned, *, as_sound: bool) -> Turn:
    match item:
        case Typed():
            return Turn(item.role, (Text(item.text),))
        case Answer():
            spoken = as_sound and bool(item.groups)
            said = Spoken(item.text, tuple(item.groups)) if spoken else Text(item.text)
            return Turn("assistant", (said,))
        case Called():
            return Turn("assistant", (Call(item.call.name, item.call.arguments),))
        case Returned():
            return Turn("tool", (Text(item.result.output),))
