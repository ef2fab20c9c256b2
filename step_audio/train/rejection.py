"""Rejection sampling: several answers to each question, the judge picks; the best is learned from.

The best answers become a pack for SFT stage 2, best against worst a pack of pairs for DPO.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from step_audio.core.errors import EngineRefused, InputError, StepAudioError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.ports import Engine
from step_audio.core.types import BATCH, Form, GenerationRequest, SamplingParams
from step_audio.core.vocab import Vocab
from step_audio.data.shards import ShardWriter, TokenSample
from step_audio.train.plans import keep_plan

CANDIDATES_FILE: Final = "candidates.jsonl"
AT_ONCE: Final = 32
"""Requests that an engine has at a time: it computes them together."""

LOST_IN_A_ROW: Final = 3
"""Questions that an engine may leave unanswered before it counts as broken."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt to sample answers for.

    Attributes:
        id: of the sample it comes from.
        prompt: ids up to and with the assistant's header.
        reference: the right answer's ids, "" of them when nobody knows it.
    """

    id: str
    prompt: tuple[int, ...]
    reference: tuple[int, ...] = ()


Judge = Callable[[Asked, Sequence[int]], float]
"""How good the ids of an answer are, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is kept of the scored answers.

    Attributes:
        least: a best answer below it is not learned from.
        gap: best and worst closer than this make no pair.
    """

    least: float = 0.9
    gap: float = 0.3


async def sample(
    engine: Engine,
    asked: Iterable[Asked],
    judge: Judge,
    out: Path,
    vocab: Vocab,
    *,
    candidates: int = 8,
    sampling: SamplingParams | None = None,
    form: Form | None = None,
    plan: Mapping[str, Any] | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Append scored answers to `out`/candidates.jsonl; questions that are there are passed over.

    Args:
        engine: the model that is to improve.
        judge: scores an answer.
        candidates: answers to each question, each from its own seed.
        sampling: how ids are drawn; the seed is replaced.
        form: of the answers, where the engine checks it.
        plan: what the answers depend on, such as the model; kept, and another one is refused.
        report: called with the number of questions done.

    Raises:
        InputError: `out` holds answers of another plan.
        StepAudioError: the engine is broken; what it did not answer is asked by the next call.
    """
    keep_plan(out, plan or {})
    path = out / CANDIDATES_FILE
    known = {row["id"] for row in read_rows(path)}
    sampling = sampling or SamplingParams(temperature=1.0)
    turns = asyncio.Semaphore(AT_ONCE)
    lost = 0

    async def draw(question: Asked, seed: int) -> list[int]:
        async with turns:
            return await _answer(engine, question, replace(sampling, seed=seed), vocab, form)

    with RowWriter(path) as rows:
        for done, question in enumerate(asked, 1):
            if question.id in known:
                continue
            drawn = await asyncio.gather(
                *(draw(question, seed) for seed in range(candidates)), return_exceptions=True
            )
            broken = next((found for found in drawn if isinstance(found, BaseException)), None)
            if broken is not None:
                lost += 1
                if lost == LOST_IN_A_ROW or not isinstance(broken, StepAudioError):
                    raise broken
                continue
            lost = 0
            made = [ids for ids in drawn if not isinstance(ids, BaseException)]
            answers = [{"ids": i, "score": judge(question, i) if i else 0.0} for i in made]
            rows.add({"id": question.id, "prompt": question.prompt, "answers": answers})
            report(done)


async def _answer(
    engine: Engine,
    question: Asked,
    sampling: SamplingParams,
    vocab: Vocab,
    form: Form | None,
) -> list[int]:
    """Return the ids of one answer, closed by the end of the turn; none when it has no end, or
    the engine refuses the question."""
    request = GenerationRequest(
        prompt=question.prompt,
        sampling=sampling,
        stop_ids=frozenset({vocab.eot}),
        request_id=f"{question.id}-{sampling.seed}",
        form=form,
        priority=BATCH,
    )
    try:
        ids = [token_id async for token_id in engine.generate(request)]
    except EngineRefused:
        return []
    # One that ran into the limit never ended: it is no example of how to answer.
    return [*ids, vocab.eot] if len(ids) < sampling.max_tokens else []


def choose(
    out: Path, vocab: Vocab, choice: Choice | None = None, text_tokenizer: str = ""
) -> dict[str, int]:
    """Write `out`/best (sequences) and `out`/pairs from the scored answers; return the counts.

    The worst answer of a pair is the worst that says something else: DPO leaves audio ids out, and
    from two answers of equal text it would learn that right words after such sound are unlikely.
    "equal text" counts the questions whose only worse answers are of that kind.

    Args:
        text_tokenizer: SHA-256 of its file: models with another one refuse the packs.

    Raises:
        InputError: nothing was sampled.
    """
    choice = choice or Choice()
    best = ShardWriter(out / "best", vocab)
    pairs = ShardWriter(out / "pairs", vocab, kind="pairs")
    counts = {"questions": 0, "best": 0, "pairs": 0, "too close": 0, "equal text": 0}
    for row in read_rows(out / CANDIDATES_FILE):
        counts["questions"] += 1
        answers = sorted(row["answers"], key=lambda answer: -answer["score"])
        answers = [answer for answer in answers if answer["ids"]]
        if not answers:
            continue
        top = answers[0]
        if top["score"] < choice.least:
            continue
        best.add(_sequence(row, top["ids"]))
        counts["best"] += 1
        worse = [a for a in answers if top["score"] - a["score"] >= choice.gap]
        said = _text_ids(top["ids"], vocab)
        other = [answer for answer in worse if _text_ids(answer["ids"], vocab) != said]
        if other:
            pairs.add(_sequence(row, top["ids"]))
            pairs.add(_sequence(row, other[-1]["ids"]))
            counts["pairs"] += 1
        else:
            counts["equal text" if worse else "too close"] += 1
    if not counts["questions"]:
        raise InputError(f"{out} holds no sampled answers; run train reject first")
    for writer in (best, pairs):
        writer.close(
            source="rejection sampling",
            least=choice.least,
            gap=choice.gap,
            text_tokenizer=text_tokenizer,
        )
    return counts


def _text_ids(ids: Sequence[int], vocab: Vocab) -> list[int]:
    """Return what masked DPO compares of an answer."""
    return [token_id for token_id in ids if not vocab.is_audio(token_id)]


def _sequence(row: Mapping[str, Any], ids: Sequence[int]) -> TokenSample:
    prompt = [*row["prompt"]]
    learned = [False] * len(prompt) + [True] * len(ids)
    return TokenSample([*prompt, *ids], learned, "rejection", str(row["id"]))
