"""The examination of nano: every bar measured on the system as it serves, with its controls.

`run` asks held-out spoken questions, lets a judge who was not trained here listen to the answers,
and prints each score beside its ceiling (the same words spoken by the source voice).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from step_audio.core.types import Pcm
from step_audio.data.speakers import HELD_NATURAL
from step_audio.eval.examinee import Answerer, AnswerRecord, Reader, Resynthesiser, ask
from step_audio.eval.latency import percentiles
from step_audio.eval.mos import dnsmos
from step_audio.nano.exam.bars import BarReport, Score
from step_audio.nano.exam.grading import (
    SOURCE_VOICE,
    Graded,
    answer_wer,
    by_intent,
    call_share,
    changed_share,
    grade,
    length_errors,
    needless_calls,
    reading_wer,
    refused_share,
    resynthesis_wer,
    right_share,
    shuffled_share,
    transcript_scores,
    transcript_wer,
    words_heard,
)
from step_audio.nano.exam.judge import Ear, WhisperJudge
from step_audio.nano.exam.person import PromptsMissing, prompts
from step_audio.nano.exam.questions import (
    QUESTIONS,
    Exam,
    ExamQuestion,
    build_exam,
    nonsense,
    speak,
)

OPEN_SENTENCES: Final = Path(__file__).with_name("open_sentences.txt")
SPOKEN_ANSWERS: Final = 200
"""Answers whose sound is held against their text."""
RATED: Final = 12
WEIGHED: Final = 6
WARM_UP: Final = 2
_log = logging.getLogger(__name__)

MemoryMeter = Callable[[Sequence[Pcm]], float]


def run(
    answerer: Answerer,
    resynthesiser: Resynthesiser | None,
    out_dir: Path,
    questions: int = QUESTIONS,
    *,
    reader: Reader | None = None,
    weights_dir: Path | None = None,
    memory_mb: MemoryMeter | None = None,
    exam: Exam | None = None,
    judge: Ear | None = None,
) -> BarReport:
    """Examine the system; write report.json, report.md and questions.jsonl; return the report.

    Args:
        answerer: answers one question in a fresh conversation, with `FakeTools(exam.TOOL_SEED)`.
        resynthesiser: tokenizer and vocoder back to back; None leaves its two bars unmeasured.
        out_dir: made if missing.
        questions: main questions, 450 for a report, 20 for a look; other parts scale along.
        reader: reads texts aloud; None leaves the open sentences unread.
        weights_dir: files whose sizes count as weights on disk.
        memory_mb: peak memory of a process that answers some sounds; None leaves it unmeasured.
        exam: what to ask instead of the standard examination of that size.
        judge: who listens; Whisper base by default.

    Raises: WhisperMissing, VoicesMissing, EngineMissing: what only training needs is missing.
    """
    exam = exam or build_exam(questions)
    _log.info("exam built: %d questions", len(exam.questions))
    main = _ask_all(answerer, exam.questions)
    sums = _ask_all(answerer, exam.sums)
    pairs = _ask_pairs(answerer, exam)
    odd = [(kind, ask(answerer, pcm, 16_000)) for kind, pcm in nonsense()]
    judge = judge or WhisperJudge()
    graded = grade(exam.questions, main, judge)
    graded_sums = grade(exam.sums, sums, judge)
    scores = {
        **_right_scores(graded, graded_sums),
        "answer_wer": answer_wer(main[:SPOKEN_ANSWERS], judge),
        "open_wer": _reading_score(reader, questions, judge),
        "person_words": _person_score(answerer, questions),
        **_resynthesis_scores(resynthesiser, exam, judge),
        "dnsmos": _dnsmos_score(main),
        **_cost_scores(main, weights_dir),
        **_memory_score(memory_mb, exam),
        "other_word": changed_share(pairs),
        "refuses_nonsense": refused_share([record for _, record in odd]),
    }
    report = BarReport(scores, _details(graded, graded_sums, odd, exam), exam.hash)
    _write(report, out_dir, [*graded, *graded_sums])
    return report


def _ask_all(answerer: Answerer, questions: Sequence[ExamQuestion]) -> list[AnswerRecord]:
    return [ask(answerer, pcm, 16_000) for pcm in speak(questions)]


def _ask_pairs(answerer: Answerer, exam: Exam) -> list[tuple[AnswerRecord, AnswerRecord]]:
    flat = _ask_all(answerer, [question for pair in exam.pairs for question in pair])
    return list(zip(flat[::2], flat[1::2], strict=True))


def _right_scores(graded: Sequence[Graded], sums: Sequence[Graded]) -> dict[str, Score]:
    natural = [g for g in graded if g.question.natural_voice]
    machine = [g for g in graded if not (g.question.natural_voice or g.question.seen_voice)]
    return {
        "right_natural_voice": right_share(natural),
        "transcript_wer": transcript_wer(natural),
        "right_unseen_voice": right_share(machine),
        "right_seen_voice": right_share([g for g in graded if g.question.seen_voice]),
        "right_sums": right_share(sums),
        "right_call": call_share([*graded, *sums]),
        "shuffled": shuffled_share(graded),
    }


def open_sentences() -> list[str]:
    """Return the hundred sentences outside nano's world that are read aloud."""
    return OPEN_SENTENCES.read_text(encoding="utf-8").splitlines()


def _reading_score(reader: Reader | None, questions: int, judge: Ear) -> Score:
    if reader is None:
        return Score(None)
    count = 100 * questions // QUESTIONS
    return reading_wer(reader, open_sentences()[: max(4, count)], judge)


def _person_score(answerer: Answerer, questions: int) -> Score:
    """Ask the words of a real person, as many as the size of the examination allows."""
    try:
        asked = list(prompts())
    except PromptsMissing as missing:
        _log.warning("%s", missing)
        return Score(None)
    every = max(1, round(QUESTIONS / max(1, questions)))
    asked = asked[::every]
    records = [ask(answerer, pcm, 16_000) for _, pcm in asked]
    return words_heard([word for word, _ in asked], records)


def _resynthesis_scores(
    resynthesiser: Resynthesiser | None, exam: Exam, judge: Ear
) -> dict[str, Score]:
    if resynthesiser is None:
        return {}
    count = max(4, len(exam.questions) // 15)
    samples = [q.sample for q in exam.questions[:count]]
    texts = [sample.question for sample in samples]
    scores = {}
    for key, voices in (
        ("resynthesis_seen", (SOURCE_VOICE,)),
        ("resynthesis_unseen", HELD_NATURAL),
    ):
        spoken = [ExamQuestion(s, voices[i % len(voices)]) for i, s in enumerate(samples)]
        scores[key] = resynthesis_wer(resynthesiser, texts, list(speak(spoken)), judge)
    return scores


def _memory_score(memory_mb: MemoryMeter | None, exam: Exam) -> dict[str, Score]:
    if memory_mb is None:
        return {}
    sounds = list(speak(exam.questions[:WEIGHED]))
    return {"peak_rss_mb": Score(memory_mb(sounds), None, len(sounds))}


def _dnsmos_score(records: Sequence[AnswerRecord]) -> Score:
    rated = [(r.pcm, r.rate_hz) for r in records if len(r.pcm)][:RATED]
    return Score(dnsmos(rated), None, len(rated))


def _cost_scores(records: Sequence[AnswerRecord], weights_dir: Path | None) -> dict[str, Score]:
    warm = records[WARM_UP:]
    first = percentiles([r.first_audio_ms for r in warm if r.first_audio_ms is not None])
    factor = percentiles([r.rtf for r in warm if r.rtf is not None])
    scores = {}
    if first is not None:
        scores["first_audio_p50_ms"] = Score(first.p50, None, first.count)
        scores["first_audio_p95_ms"] = Score(first.p95, None, first.count)
    if factor is not None:
        scores["rtf_p95"] = Score(factor.p95, None, factor.count)
    if weights_dir is not None:
        size = sum(path.stat().st_size for path in weights_dir.rglob("*") if path.is_file())
        scores["weights_mb"] = Score(size / 1e6)
    return scores


def _details(
    graded: Sequence[Graded],
    sums: Sequence[Graded],
    odd: Sequence[tuple[str, AnswerRecord]],
    exam: Exam,
) -> dict[str, Any]:
    voices = sorted({g.question.speaker for g in graded})
    kinds = sorted({kind for kind, _ in odd})
    return {
        "by_voice": {
            v: asdict(right_share([g for g in graded if g.question.speaker == v])) for v in voices
        },
        "by_intent": by_intent(graded),
        "nonsense": {k: asdict(refused_share([r for o, r in odd if o == k])) for k in kinds},
        "transcript": transcript_scores(graded),
        "needless_calls": asdict(needless_calls(graded)),
        **length_errors([*graded, *sums]),
        "questions_new_against_training_texts": exam.checked_against,
    }


def _write(report: BarReport, out_dir: Path, graded: Sequence[Graded]) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
    (out_dir / "report.md").write_text(report.to_markdown(), encoding="utf-8")
    rows = [json.dumps(_row(g)) for g in graded]
    (out_dir / "questions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _row(g: Graded) -> dict[str, Any]:
    return {
        "intent": g.question.sample.intent,
        "speaker": g.question.speaker,
        "question": g.question.sample.question,
        "transcript": g.record.transcript,
        "expected": g.question.sample.answer,
        "text": g.record.text,
        "heard": g.heard,
        "calls": [[c.name, c.arguments] for c in g.record.calls],
        "expected_call": g.question.sample.call,
        "right": g.right,
        "ceiling_right": g.ceiling_right,
        "first_audio_ms": g.record.first_audio_ms,
        "error": g.record.error,
    }
