"""Turns -> token ids: the one place that knows the chat and TTS layouts.

A turn is `<|BOT|>role\\n content <|EOT|>`. Serving and training build their ids here, so they
cannot drift apart. Source: Step-Audio report, arXiv:2502.11946; published chat and TTS scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from step_audio.core.errors import TokenError
from step_audio.core.ports import TextTokenizer, ToolSpec
from step_audio.core.types import Role, TokenGroup, Voice
from step_audio.core.vocab import OWN_CHAT, OWN_SPEECH, HeaderIds, Vocab
from step_audio.dialog.prompting.layout import GROUP_RUN, TEXT_RUN, interleave
from step_audio.dialog.prompting.tool_syntax import MarkerSyntax, ToolSyntax, tool_syntax_of
from step_audio.dialog.prompting.tts_prompts import tts_system_prompt


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text of any role."""

    text: str


@dataclass(frozen=True, slots=True)
class Audio:
    """Speech as groups: a spoken question, or an answer without text (TTS)."""

    groups: tuple[TokenGroup, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model writes down of a spoken question before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, at the end of a turn. `arguments` is JSON text, without spaces if you can."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A spoken answer: 10 text ids, 15 audio ids, and so on."""

    text: str
    groups: tuple[TokenGroup, ...]


Part = Text | Audio | Heard | Call | Spoken


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, in the order its parts were said."""

    role: Role
    parts: tuple[Part, ...]


class PromptBuilder:
    """Turns to ids for one text tokenizer and vocabulary. Stateless, shared.

    `text_run` and `group_run` are the rhythm of spoken answers; other than 10 ids and 3 groups
    only to train a model that is to be compared. `dialect` is how calls and results are written.
    `chat_headers` and `speech_headers` are facts of the weights (core/weights.py).
    """

    def __init__(
        self,
        text_tokenizer: TextTokenizer,
        vocab: Vocab,
        *,
        text_run: int = TEXT_RUN,
        group_run: int = GROUP_RUN,
        dialect: ToolSyntax | None = None,
        chat_headers: HeaderIds = OWN_CHAT,
        speech_headers: HeaderIds = OWN_SPEECH,
    ) -> None:
        self.chat_headers, self.speech_headers = chat_headers, speech_headers
        self.text_tokenizer = text_tokenizer
        self._vocab = vocab
        self.text_run, self.group_run = text_run, group_run
        self.dialect = dialect or MarkerSyntax()
        self._newline = text_tokenizer.encode("\n")

    @classmethod
    def of_profile(
        cls,
        text_tokenizer: TextTokenizer,
        vocab: Vocab,
        *,
        dialect: str,
        result_role: Role,
        chat_headers: HeaderIds,
        speech_headers: HeaderIds,
        text_run: int = TEXT_RUN,
        group_run: int = GROUP_RUN,
    ) -> PromptBuilder:
        """Return the builder of a profile: serving, packing and rejection sampling all ask here.

        Args:
            dialect, result_role: of the profile's `tools`.
            chat_headers, speech_headers: facts of the weights.
            text_run, group_run: see the class.

        Raises:
            InputError: no such dialect.
        """
        return cls(
            text_tokenizer,
            vocab,
            text_run=text_run,
            group_run=group_run,
            dialect=tool_syntax_of(dialect, result_role),
            chat_headers=chat_headers,
            speech_headers=speech_headers,
        )

    def listing(self, tools: Sequence[ToolSpec]) -> list[Turn]:
        """Return the turn that lists tools, none where the dialect lists none."""
        role = self.dialect.schema_role
        return (
            []
            if role is None or not tools
            else [Turn(role, (Text(self.dialect.list_tools(tools)),))]
        )

    def arranged(self, turns: Sequence[Turn], listed: Sequence[Turn]) -> list[Turn]:
        """Return a conversation as the dialect shows it: the list of tools behind the
        instructions, calls in the turn of the words in front of them."""
        head = instructions(turns)
        shown = [*turns[:head], *listed, *turns[head:]]
        return _joined(shown) if self.dialect.calls_in_text else shown

    def chat(self, turns: Iterable[Turn]) -> list[int]:
        """Return the ids of all turns and of the header that asks the assistant to go on."""
        return self._asking(turns, self.chat_headers)

    def speech(self, turns: Iterable[Turn]) -> list[int]:
        """Return the ids of turns that ask for a text read aloud in an example's voice."""
        return self._asking(turns, self.speech_headers)

    @property
    def beginning(self) -> list[int]:
        """The ids in front of a conversation: `<s>`, or none."""
        return [self._vocab.bos] if self.chat_headers.bos else []

    def tts(self, text: str, voice: Voice, *, speaker: str = "") -> list[int]:
        """Return the published TTS prompt: system, the voice's example, then the text.

        Args:
            text: what to read, style tags included.
            voice: its `prompt_text` and `prompt_groups` are the example to imitate.
            speaker: the voice's name when the model was trained on it, "" when cloned.
        """
        example = (
            Turn("human", (Text(voice.prompt_text),)),
            Turn("assistant", (Audio(voice.prompt_groups),)),
        )
        system = Turn("system", (Text(tts_system_prompt(text, speaker)),))
        turns = (system, *example, Turn("human", (Text(text),)))
        return self._asking(turns, self.speech_headers)

    def training_sequence(
        self, turns: Sequence[Turn], *, context: int = 0, headers: HeaderIds | None = None
    ) -> tuple[list[int], list[bool]]:
        """Return (ids, mask) of complete turns; the mask is true where the assistant wrote.

        That is the content and the `<|EOT|>` of assistant turns: what the model must produce
        when the header is given. Headers and all other turns are never marked.

        Args:
            turns: the sample, system turn included.
            context: the first so many turns are history and not learned from, such as earlier
                answers that the history shows as text although they were spoken.
            headers: those of conversations by default; a `<s>` in front is the caller's.
        """
        ids: list[int] = []
        mask: list[bool] = []
        for at, turn in enumerate(turns):
            header = self.header(turn.role, headers)
            content = self.content(turn.parts, turn.role)
            ids += [*header, *content, self._vocab.eot]
            mask += [False] * len(header)
            mask += [turn.role == "assistant" and at >= context] * (len(content) + 1)
        return ids, mask

    def turn(self, turn: Turn, headers: HeaderIds | None = None) -> list[int]:
        """Return the ids of one complete turn."""
        content = self.content(turn.parts, turn.role)
        return [*self.header(turn.role, headers), *content, self._vocab.eot]

    def header(self, role: Role, headers: HeaderIds | None = None) -> list[int]:
        """Return `<|BOT|>role\\n`; results of tools have the role of the dialect.

        Args:
            role: whose turn begins.
            headers: those of conversations by default.
        """
        if role == "tool":
            role = self.dialect.result_role
        kind = (headers or self.chat_headers).roles
        if kind == "bare":
            return [self._vocab.bot, *self.text(f"{role}\n")]
        again = [self._vocab.bos] if kind == "bos" else []
        return [self._vocab.bot, *again, *self.text_tokenizer.encode(f"{role}\n")]

    def _asking(self, turns: Iterable[Turn], headers: HeaderIds) -> list[int]:
        """Return the ids of a prompt that asks the assistant to go on."""
        begin = [self._vocab.bos] if headers.bos else []
        ids = [token_id for turn in turns for token_id in self.turn(turn, headers)]
        return [*begin, *ids, *self.header("assistant", headers)]

    def content(self, parts: Sequence[Part], role: Role = "assistant") -> list[int]:
        """Return the ids of a turn's parts. Raises TokenError: a marker the vocabulary lacks."""
        return [token_id for part in parts for token_id in self._part(part, role)]

    def text(self, text: str) -> list[int]:
        """Return the ids of text that follows something else.

        A sentencepiece model puts a dummy space before what it believes to be the first word.
        Encoding after a newline and cutting the newline off again keeps that out; it is also
        how the published prompts were made.
        """
        ids = self.text_tokenizer.encode("\n" + text)
        cut = len(self._newline)
        return ids[cut:] if ids[:cut] == self._newline else self.text_tokenizer.encode(text)

    def _part(self, part: Part, role: Role) -> list[int]:
        match part:
            case Text(text):
                return self.text(text)
            case Audio(groups):
                vocab = self._vocab
                return vocab.question_ids(groups) if role == "human" else vocab.ids(groups)
            case Heard(text):
                opened = _marker(self._vocab.heard_open, "transcript")
                closed = _marker(self._vocab.heard_close, "transcript")
                return [opened, *self.text(text), closed]
            case Call(name, arguments):
                written = self.text(self.dialect.write(name, arguments))
                if self.dialect.calls_in_text:
                    return written
                return [_marker(self._vocab.call, "tool call"), *written]
            case Spoken(text, groups):
                return interleave(
                    self.text(text),
                    groups,
                    self._vocab,
                    text_run=self.text_run,
                    group_run=self.group_run,
                )


def instructions(turns: Sequence[Turn]) -> int:
    """Return how many turns at the front are instructions."""
    fixed = ("system", "tool_json_schemas")
    return sum(1 for _ in takewhile(lambda turn: turn.role in fixed, turns))


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns with calls in the turn of the words, or the calls, in front of them."""
    out: list[Turn] = []
    for turn in turns:
        calls = turn.role == "assistant" and all(isinstance(part, Call) for part in turn.parts)
        if calls and out and out[-1].role == "assistant":
            out[-1] = Turn("assistant", (*out[-1].parts, *turn.parts))
        else:
            out.append(turn)
    return out


def _marker(token_id: int | None, what: str) -> int:
    if token_id is None:
        raise TokenError(f"this vocabulary has no {what} marker; leave such parts out")
    return token_id
