"""How good an answer is, from its ids: the right words or call, and a sound that says them.

Used to choose among several answers of a model; needs a right answer to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from step_audio.core.error_rates import error_rate
from step_audio.core.errors import TokenError
from step_audio.core.ports import TextTokenizer, Vocoder
from step_audio.core.types import Pcm, TextDelta, TokenGroup, ToolCall, Transcript, Voice
from step_audio.core.vocab import Vocab
from step_audio.dialog.response.parser import Parsed, TokenParser
from step_audio.eval.examinee import same_call


@dataclass(slots=True)
class AnswerParts:
    """What one assistant turn holds."""

    heard: str = ""
    text: str = ""
    groups: list[TokenGroup] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    anomalies: int = 0


class AnswerJudge:
    """Scores the ids of an answer against those of a right one, 0 to 1.

    The score is a product: the call is right or not, or the share of right words; the share of
    right words in the transcript, where there is one; and how well the sound says the text.

    Args:
        hear: a recogniser for the sound; None judges text alone.
        vocoder, voice: make the sound.
    """

    def __init__(
        self,
        text_tokenizer: TextTokenizer,
        vocab: Vocab,
        hear: Callable[[Pcm, int], str] | None = None,
        vocoder: Vocoder | None = None,
        voice: Voice | None = None,
    ) -> None:
        self._text_tokenizer, self._vocab = text_tokenizer, vocab
        self._hear, self._vocoder, self._voice = hear, vocoder, voice

    def score(self, right: Sequence[int], answer: Sequence[int]) -> float:
        """Return how good `answer` is where `right` would be; the closing id may be there."""
        wanted, given = self.parse(right), self.parse(answer)
        if wanted.calls or given.calls:
            content = float(
                bool(wanted.calls and given.calls)
                and same_call(_pair(wanted.calls[0]), _pair(given.calls[0]))
            )
        else:
            content = _alike(wanted.text, given.text)
        if wanted.heard:
            content *= _alike(wanted.heard, given.heard)
        if wanted.groups:
            content *= self._sound(given)
        return 0.0 if given.anomalies else content

    def parse(self, ids: Sequence[int]) -> AnswerParts:
        """Return what the ids of a turn hold; ids that are nothing count as anomalies."""
        parser = TokenParser(self._text_tokenizer, self._vocab, lambda: "call")
        parts = AnswerParts()
        events: list[Parsed] = []
        try:
            for token_id in ids:
                if token_id != self._vocab.eot:
                    events += parser.push(token_id)
            events += parser.flush()
        except TokenError:
            parts.anomalies += 1
        for event in events:
            match event:
                case TextDelta(text):
                    parts.text += text
                case Transcript(text):
                    parts.heard += text
                case TokenGroup():
                    parts.groups.append(event)
                case ToolCall():
                    parts.calls.append(event)
        parts.anomalies += parser.counts.anomalies
        return parts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of text ids."""
        decoder = self._text_tokenizer.open_decoder()
        pieces = [piece for token_id in ids for piece in decoder.push(token_id)]
        return "".join([*pieces, *decoder.flush()])

    def _sound(self, given: AnswerParts) -> float:
        if not given.groups:
            return 0.0
        if self._hear is None or self._vocoder is None or self._voice is None:
            return 1.0
        stage = self._vocoder.open(self._voice)
        pieces = [piece for group in given.groups for piece in stage.push(group)]
        pcm = np.concatenate([*pieces, *stage.flush()])
        return _alike(given.text, self._hear(pcm, self._vocoder.sample_rate_hz))


def _alike(right: str, given: str) -> float:
    return max(0.0, 1.0 - error_rate(right, given))


def _pair(call: ToolCall) -> tuple[str, str]:
    return call.name, call.arguments
