"""StepEval-Audio-360: recorded conversations answered, answers rated by a language model.

Three figures a category, as the first report gives them: factuality and relevance in percent, a
chat score of 1 to 5. Source: Step-Audio report, arXiv:2502.11946. The judge sees transcripts, and
hears the answer when its endpoint takes audio; figures of different judges do not compare.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import write_wav
from step_audio.core.errors import StepAudioError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.types import Pcm
from step_audio.data.llm import ChatEndpoint
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.eval.examinee import AnswerRecord
from step_audio.eval.stepeval_data import Dialogue, Recordings

Converse = Callable[[Sequence[tuple[Pcm, int]]], Sequence[AnswerRecord]]
"""Ask spoken questions one after the other in one conversation; one record for each."""

ANSWERS: Final = "answers.jsonl"
RATINGS: Final = "ratings.jsonl"
TRIES: Final = 3
_OBJECT: Final = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rating:
    """What the judge says of one conversation's last answer."""

    factuality: int
    relevance: int
    chat: int
    why: str = ""


def answer_all(
    dialogues: Sequence[Dialogue],
    recordings: Recordings,
    converse: Converse,
    out: Path,
    progress: Callable[[Iterable[Dialogue]], Iterable[Dialogue]] = lambda rows: rows,
) -> None:
    """Hold every conversation that `out`/answers.jsonl lacks; sounds go to `out`/answers/.

    A conversation that fails is a row with its error, and counts as the lowest rating.
    """
    known = {row["id"] for row in read_rows(out / ANSWERS)}
    (out / "answers").mkdir(parents=True, exist_ok=True)
    with RowWriter(out / ANSWERS) as rows:
        for dialogue in progress([d for d in dialogues if d.id not in known]):
            row: dict[str, Any] = {"id": dialogue.id, "category": dialogue.category}
            try:
                sounds = [recordings.read(turn.audio) for turn in dialogue.questions]
                records = converse(sounds)
            except StepAudioError as error:
                rows.add({**row, "error": f"{error.code}: {error}"})
                continue
            last = records[-1]
            if len(last.pcm):
                write_wav(out / "answers" / f"{_file_name(dialogue)}.wav", last.pcm, last.rate_hz)
            texts = [record.text for record in records]
            error_text = next((record.error for record in records if record.error), "")
            rows.add({**row, "answers": texts, "heard": last.transcript, "error": error_text})


def rate_all(
    dialogues: Sequence[Dialogue],
    endpoint: ChatEndpoint,
    out: Path,
    *,
    send_audio: bool = False,
    progress: Callable[[Iterable[Dialogue]], Iterable[Dialogue]] = lambda rows: rows,
) -> None:
    """Let the judge rate every answered conversation that `out`/ratings.jsonl lacks.

    Raises:
        EndpointError: the judge cannot be reached; what it rated so far is kept.
    """
    known = {row["id"] for row in read_rows(out / RATINGS)}
    answers = {row["id"]: row for row in read_rows(out / ANSWERS)}
    with RowWriter(out / RATINGS) as rows:
        for dialogue in progress([d for d in dialogues if d.id in answers and d.id not in known]):
            answer = answers[dialogue.id]
            base = {"id": dialogue.id, "category": dialogue.category}
            if answer.get("error"):
                rows.add({**base, "factuality": 0, "relevance": 0, "chat": 1, "why": "no answer"})
                continue
            sound = out / "answers" / f"{_file_name(dialogue)}.wav" if send_audio else None
            rating = rate(dialogue, answer["answers"], endpoint, sound)
            if rating is None:
                rows.add({**base, "unrated": True})
                continue
            scores = {"factuality": rating.factuality, "relevance": rating.relevance}
            rows.add({**base, **scores, "chat": rating.chat, "why": rating.why})


def rate(
    dialogue: Dialogue, answers: Sequence[str], endpoint: ChatEndpoint, sound: Path | None = None
) -> Rating | None:
    """Return the judge's rating, None when it never replied in the asked form."""
    lines, given = [], iter(answers)
    for turn in dialogue.questions:
        lines += [f"Person: {turn.text or '(spoken)'}", f"Assistant: {next(given, '')}"]
    text = load_prompt("stepeval_judge").replace("{category}", dialogue.category)
    content: Any = text.replace("{conversation}", "\n".join(lines))
    if sound is not None and sound.is_file():
        encoded = base64.b64encode(sound.read_bytes()).decode()
        audio = {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}
        content = [{"type": "text", "text": content}, audio]
    for attempt in range(TRIES):
        message = {"role": "user", "content": content}
        rating = parse(endpoint.complete([message], temperature=0.0, seed=attempt))
        if rating is not None:
            return rating
    return None


def parse(text: str) -> Rating | None:
    """Return the rating in a completion, None when it is not of the asked form."""
    found = _OBJECT.search(text)
    try:
        row: Any = json.loads(found.group()) if found else {}
        made = Rating(int(row["factuality"]), int(row["relevance"]), int(row["chat"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if made.factuality not in (0, 1) or made.relevance not in (0, 1) or not 1 <= made.chat <= 5:
        return None
    return Rating(made.factuality, made.relevance, made.chat, str(row.get("why", "")))


def summarise(out: Path, judge: str, answered_by: str) -> dict[str, Any]:
    """Write report.json and report.md of what is rated; return the figures.

    Raises:
        StepAudioError: nothing is rated.
    """
    rows = read_rows(out / RATINGS)
    rated = [row for row in rows if not row.get("unrated")]
    if not rated:
        raise StepAudioError(f"{out} holds no rating; was the judge reached?")
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rated:
        groups[row["category"]].append(row)
        groups["all"].append(row)
    figures = {name: _means(group) for name, group in sorted(groups.items()) if name != "all"}
    figures["all"] = _means(groups["all"])
    failed = sum(bool(row.get("error")) for row in read_rows(out / ANSWERS))
    report = {
        "benchmark": "StepEval-Audio-360",
        "model": answered_by,
        "judge": judge,
        "rated": len(rated),
        "unrated": len(rows) - len(rated),
        "failed": failed,
        "categories": figures,
    }
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (out / "report.md").write_text(_markdown(report), encoding="utf-8")
    return report


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    def mean(key: str) -> float:
        return float(sum(row[key] for row in rows)) / len(rows)

    return {
        "n": len(rows),
        "factuality": round(100 * mean("factuality"), 1),
        "relevance": round(100 * mean("relevance"), 1),
        "chat": round(mean("chat"), 2),
    }


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"# StepEval-Audio-360: {report['model']}",
        "",
        f"Rated by {report['judge']}: {report['rated']} conversations; {report['unrated']} without"
        f" a usable rating; {report['failed']} without an answer, which count as the lowest.",
        "",
        "| category | n | factuality % | relevance % | chat score 1-5 |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["categories"].items():
        cells = (name, row["n"], row["factuality"], row["relevance"], row["chat"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _file_name(dialogue: Dialogue) -> str:
    # Ids come from outside: no path may be made of them.
    return re.sub(r"[^A-Za-z0-9_-]", "_", dialogue.id)[:80]
