"""Rewards of answers by ids, for GRPO: calls, refusals, form, words and sound, a chat judge.

Each takes the ids of the prompt, of a right answer and of the given one, and returns 0 to 1, or
None where it has nothing to say. Sources: the judge and the rules of tools, Step-Audio-AQAA,
arXiv:2506.08967; refusals that a model learns because they are never wrong ("deaf hacking"),
Step-Audio, arXiv:2502.11946.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from step_audio.core.vocab import Vocab
from step_audio.eval.answer_judge import AnswerJudge
from step_audio.eval.examinee import same_call
from step_audio.eval.scores.judges import JudgedAnswer, JudgePanel
from step_audio.eval.wer import in_order

Rule = Callable[[Sequence[int], Sequence[int], Sequence[int]], float | None]
"""Prompt, right answer, given answer: how good it is."""

REFUSED: Final = ("sorry", "not")
"""Words that stand in an answer that says that nothing was understood, in this order."""
SHAPE: Final = "rating10"


class AnswerRules:
    """The rules, over one judge that reads ids.

    Args:
        judge: parses answers, and scores words and sound.
        refused: words in their order that make an answer a refusal.
        panel: a chat model that rates answers.
    """

    def __init__(
        self,
        judge: AnswerJudge,
        vocab: Vocab,
        refused: Sequence[str] = REFUSED,
        panel: JudgePanel | None = None,
    ) -> None:
        self._judge, self._vocab, self._refused, self._panel = judge, vocab, refused, panel

    def named(self) -> dict[str, Rule]:
        """Return every rule by its name; "endpoint" only with a panel."""
        rules: dict[str, Rule] = {
            "judge": self.judged,
            "calls": self.calls,
            "refusals": self.refusals,
            "form": self.form,
        }
        return rules if self._panel is None else {**rules, "endpoint": self.endpoint}

    def judged(
        self, prompt: Sequence[int], right: Sequence[int], given: Sequence[int]
    ) -> float | None:
        """Return the judge's score (`AnswerJudge`); None where no right answer is known."""
        return self._judge.score(right, given) if right else None

    def calls(
        self, prompt: Sequence[int], right: Sequence[int], given: Sequence[int]
    ) -> float | None:
        """Return 1 for the calls of the right answer and no other, 0 for wrong, missing or needless
        ones; None where neither calls."""
        wanted, made = (self._judge.parse(ids).calls for ids in (right, given))
        if not wanted and not made:
            return None
        alike = (
            same_call((one.name, one.arguments), (other.name, other.arguments))
            for one, other in zip(wanted, made, strict=False)
        )
        return float(len(wanted) == len(made) and all(alike))

    def refusals(
        self, prompt: Sequence[int], right: Sequence[int], given: Sequence[int]
    ) -> float | None:
        """Return 1 when an answer refuses exactly where the right one does: noise is refused, and
        a clear question is not. None where no right answer is known."""
        if not right:
            return None
        wanted, made = (in_order(self._refused, self._judge.parse(i).text) for i in (right, given))
        return float(wanted == made)

    def form(
        self, prompt: Sequence[int], right: Sequence[int], given: Sequence[int]
    ) -> float | None:
        """Return 1 when every id of the answer is part of a text, a call or whole groups."""
        parts = self._judge.parse(given)
        return float(not parts.anomalies and bool(parts.text or parts.groups or parts.calls))

    def endpoint(
        self, prompt: Sequence[int], right: Sequence[int], given: Sequence[int]
    ) -> float | None:
        """Return a chat model's rating of the words, a tenth of 1 to 10; None: it gave no rating.

        Raises:
            EndpointError: it cannot be reached.
        """
        if self._panel is None:
            return None
        wanted, made = self._judge.parse(right), self._judge.parse(given)
        question = wanted.heard or self._typed(prompt)
        asked = JudgedAnswer("", question, question, made.text, wanted.text)
        verdict, _ = self._panel.judge(SHAPE, asked)
        return None if verdict is None else verdict[SHAPE] / 10

    def _typed(self, prompt: Sequence[int]) -> str:
        """Return the words of the turn before the assistant's, behind the line of its role."""
        vocab = self._vocab
        begins = [at for at, token_id in enumerate(prompt) if token_id == vocab.bot]
        turn = prompt[begins[-2] : begins[-1]] if len(begins) > 1 else []
        marks = {vocab.bos, vocab.bot, vocab.eot}
        said = self._judge.decode([i for i in turn if i not in marks and not vocab.is_audio(i)])
        return said.partition("\n")[2].strip()
