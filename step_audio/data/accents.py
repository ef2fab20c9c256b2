"""English from festival's voices of other languages: nine more recorded people to hear.

An American voice plans the sentence (phones, durations, melody); each phone is then said by the
phones of the other language that stand for it in its speakers' English (`accents.yaml`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from step_audio.core.errors import InputError

SILENCE: Final = "pau"
_PLANNER: Final = """(voice_kal_diphone)
(define (plan text)
 (let ((u (eval (list 'Utterance 'Text text))))
  (Initialize u) (Text u) (Token_POS u) (Token u) (POS u) (Phrasify u) (Word u) (Pauses u)
  (Intonation u) (PostLex u) (Duration u) (Int_Targets u)
  (format t "plan\\n")
  (mapcar
   (lambda (phone)
    (format t "%s %f" (item.name phone) (item.feat phone 'end))
    (let ((targets (item.relation phone 'Target)))
     (if targets
      (mapcar (lambda (at) (format t " %f %f" (item.feat at 'pos) (item.feat at 'f0)))
       (item.daughters targets))))
    (format t "\\n"))
   (utt.relation.items u 'Segment))))
"""


@dataclass(frozen=True, slots=True)
class Phone:
    """One planned English phone: its end in seconds, and (second, Hz) points of the melody."""

    name: str
    end: float
    melody: tuple[tuple[float, float], ...]


@cache
def _tables() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("accents.yaml").read_text(encoding="utf-8")
    tables: Mapping[str, Any] = yaml.safe_load(text)
    return tables


def planner(texts: Iterable[str]) -> str:
    """Return the festival program that prints the plans of texts, which hold no quotes."""
    return _PLANNER + "".join(f'(plan "{text}")\n' for text in texts)


def read_plans(printed: str) -> list[list[Phone]]:
    """Read what `planner` prints, one list of phones a text."""
    plans: list[list[Phone]] = []
    for line in printed.splitlines():
        if line == "plan":
            plans.append([])
        elif plans and line:
            name, end, *points = line.split()
            numbers = [float(point) for point in points]
            melody = tuple(zip(numbers[::2], numbers[1::2], strict=True))
            plans[-1].append(Phone(name, float(end), melody))
    return plans


def utterance(plan: Iterable[Phone], voice: str, rate: float = 1.0, pitch: float = 1.0) -> str:
    """Return festival's expression for a planned sentence in the phones of a voice's language.

    Args:
        plan: the English phones.
        voice: a key of `voices` in accents.yaml.
        rate: how much faster than planned.
        pitch: factor on the voice's own.

    Raises:
        InputError: there is no such voice.
    """
    facts = _tables()["voices"].get(voice)
    if facts is None:
        raise InputError(f"no voice {voice!r} in accents.yaml")
    language = _tables()["languages"][facts["language"]]
    said, start = [], 0.0
    for phone in plan:
        names = [language["silence"]] if phone.name == SILENCE else language["phones"][phone.name]
        length = (phone.end - start) / max(1, len(names))
        for at, name in enumerate(names):
            first, last = start + at * length, at == len(names) - 1
            points = "".join(
                f" ({max(0.0, when - first) / rate:.4f} {hertz * pitch * facts['pitch']:.1f})"
                for when, hertz in phone.melody
                if first <= when and (last or when < first + length)
            )
            said.append(f'("{name}" {length / rate:.4f}{points})')
        start = phone.end
    return f"(Utterance Segments ({' '.join(said)}))"
