"""A conversation as the turns of a prompt: what is shown as sound, what by its words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Item,
    MultiPartMessage,
    Returned,
    SpokenPart,
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
    takes_transcripts: bool = True,
    typed: Callable[[str], str] = str,
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
        takes_transcripts: whether the model writes down what it hears; else no transcript stands
            before an answer.
        typed: what the model is shown of a text that a person typed.

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
        if isinstance(item, MultiPartMessage):
            if item.is_blank:
                continue
            if item.role == "human":
                heard = _heard_in(item) if as_sound else None
            shown_text = typed if item.role == "human" else str
            if parts := _parts(item, as_sound=as_sound, typed=shown_text):
                out.append(Turn(item.role, parts))
            continue
        if isinstance(item, Typed) and item.role == "human":
            out.append(Turn("human", (Text(typed(item.text)),)))
            continue
        turn = _turn(item, as_sound=at >= sounding)
        if turn.role == "assistant" and heard is not None:
            if takes_transcripts:
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


def _heard_in(item: MultiPartMessage) -> str | None:
    """Return what is said in a message, None when it is not known of all its sounds."""
    sounds = [part.transcript for part in item.parts if isinstance(part, SpokenPart)]
    known = [transcript for transcript in sounds if transcript is not None]
    return " ".join(known) if known and len(known) == len(sounds) else None


def _parts(
    item: MultiPartMessage, *, as_sound: bool, typed: Callable[[str], str]
) -> tuple[Part, ...]:
    """Return the parts of a message in order; words that follow each other are one text."""
    out: list[Part] = []
    for part in item.parts:
        shown: Part
        if isinstance(part, SpokenPart):
            sound = as_sound or part.transcript is None
            shown = Audio(part.groups) if sound else Text(part.transcript or "")
        else:
            shown = Text(typed(part.text))
        if isinstance(shown, Text) and not shown.text.strip():
            continue
        last = out[-1] if out else None
        if isinstance(shown, Text) and isinstance(last, Text):
            out[-1] = Text(f"{last.text}\n{shown.text}")
        else:
            out.append(shown)
    return tuple(out)


def _question_part(item: UserAudio, *, sound: bool) -> Part:
    return Audio(item.groups) if sound else Text(item.transcript or "")


def _turn(item: Typed | Answer | Called | Returned, *, as_sound: bool) -> Turn:
    match item:
        case Typed():
            return Turn(item.role, (Text(item.text),))
        case Answer():
            spoken = as_sound and bool(item.groups)
            text = item.as_written
            said = Spoken(text, tuple(item.groups)) if spoken else Text(text)
            return Turn("assistant", (said,))
        case Called():
            return Turn("assistant", (Call(item.call.name, item.call.arguments),))
        case Returned():
            return Turn("tool", (Text(item.result.output),))
