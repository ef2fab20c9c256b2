"""Rejection sampling: several answers to each question, the judge picks; the best is learned from.

The best answers become a pack for SFT stage 2, best against worst a pack of pairs for DPO. In a
conversation of many turns the candidates part at one of them, each is gone on from to the end, and
its score is the mean of its turn and the later ones: what REFUEL (arXiv:2410.04612) regresses on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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

ROLL_IN_SEED: Final = 0
"""Of the answers to the turns before the one at which candidates part."""

LOST_IN_A_ROW: Final = 3
"""Questions that an engine may leave unanswered before it counts as broken."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt to sample answers for.

    Attributes:
        id: of the sample it comes from.
        prompt: ids up to and with the assistant's header.
        reference: the right answer's ids, "" of them when nobody knows it.
        later: of each further turn, the ids between the end of the answer before it and its own
            answer, and the right answer's ids.
        parts_at: turn at which the candidates part; earlier ones are answered once, for all.
    """

    id: str
    prompt: tuple[int, ...]
    reference: tuple[int, ...] = ()
    later: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    parts_at: int = 0


Judge = Callable[[Asked, Sequence[int]], float]
"""How good the ids of an answer are, 0 to 1."""

Answer = Callable[[Asked], Awaitable[list[int]]]
"""Draws the ids of an answer; none where it has no end."""


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

    async def answer(question: Asked, seed: int) -> list[int]:
        async with turns:
            return await _answer(engine, question, replace(sampling, seed=seed), vocab, form)

    async def drawn(question: Asked) -> tuple[Asked, list[dict[str, Any]]]:
        begun = await _begun(question, lambda asked: answer(asked, ROLL_IN_SEED))
        rolls = (
            _rolled(begun, judge, lambda asked, seed=seed: answer(asked, seed))  # type: ignore[misc]
            for seed in range(candidates)
        )
        found = await asyncio.gather(*rolls, return_exceptions=True)
        for broken in found:
            if isinstance(broken, BaseException):
                raise broken
        return begun, [roll for roll in found if not isinstance(roll, BaseException)]

    with RowWriter(path) as rows:
        for done, question in enumerate(asked, 1):
            if question.id in known:
                continue
            try:
                begun, answers = await drawn(question)
            except StepAudioError:
                lost += 1
                if lost == LOST_IN_A_ROW:
                    raise
                continue
            lost = 0
            rows.add({"id": question.id, "prompt": begun.prompt, "answers": answers})
            report(done)


async def _rolled(question: Asked, judge: Judge, answer: Answer) -> dict[str, Any]:
    """Return an answer, and the mean score of it and of the answers to the later turns; turns that
    were not reached count lowest."""
    asked, ids, answers, scores = question, list[int](), list[list[int]](), list[float]()
    for between, right in (((), question.reference), *question.later):
        prompt = (*asked.prompt, *ids, *between)
        asked = replace(asked, prompt=prompt, reference=right, later=())
        ids = await answer(asked)
        answers.append(ids)
        if not ids:
            break
        scores.append(judge(asked, ids))
    return {"ids": answers[0], "score": sum(scores) / (1 + len(question.later))}


async def _begun(question: Asked, answer: Answer) -> Asked:
    """Return a question as it is at the turn where its candidates part, earlier turns answered by
    the model; where it has no answer to one of them, they part there."""
    for _ in range(question.parts_at):
        if not question.later:
            break
        ids = await answer(question)
        if not ids:
            break
        (between, right), *later = question.later
        question = replace(
            question,
            prompt=(*question.prompt, *ids, *between),
            reference=right,
            later=tuple(later),
        )
    return replace(question, parts_at=0)


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
        best.add(replace(_sequence(row, top), score=None))
        counts["best"] += 1
        worse = [a for a in answers if top["score"] - a["score"] >= choice.gap]
        said = _text_ids(top["ids"], vocab)
        other = [answer for answer in worse if _text_ids(answer["ids"], vocab) != said]
        if other:
            pairs.add(_sequence(row, top))
            pairs.add(_sequence(row, other[-1]))
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


def _sequence(row: Mapping[str, Any], answer: Mapping[str, Any]) -> TokenSample:
    prompt, ids = [*row["prompt"]], answer["ids"]
    learned = [False] * len(prompt) + [True] * len(ids)
    name, score = str(row["id"]), float(answer["score"])
    return TokenSample([*prompt, *ids], learned, "rejection", name, score)
