"""One line of what `doctor` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` says what to do where something is amiss."""

    subject: str
    state: State
    fact: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}[self.state]
        return f"{mark}  {self.subject}: {self.fact}" + (f"; {self.advice}" if self.advice else "")
