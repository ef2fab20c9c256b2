"""What happened in one dialogue, and what it says of the server: pure, times in, marks out.

Playback is that of an ordinary client: an answer is played as it comes, and `speech_started`
silences it. Times are seconds of the caller's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from step_audio.eval.turns.scripts import Kind

SHARES: Final = (
    *("cut_off", "ended_early", "answered", "obeyed", "ridden_out", "after_silence"),
    "unprompted",
)
DELAYS: Final = (
    *("end_of_turn_ms", "response_ms", "interruption_ms", "resume_ms"),
    "after_silence_ms",
)
"""Keys of `marks.FIGURES`: shares of dialogues, and delays in ms."""
_TOGETHER_S: Final = 0.1


@dataclass(slots=True)
class Sounded:
    """One response: when its sound came, (time, seconds) each, and how and when it ended."""

    id: str
    created_s: float
    pieces: list[tuple[float, float]] = field(default_factory=list)
    status: str = ""
    done_s: float | None = None

    def first_s(self) -> float | None:
        """Return when its first sound came."""
        return self.pieces[0][0] if self.pieces else None

    def over_s(self) -> float:
        """Return when nothing of it is left to hear."""
        return max(self.played_until_s(), self.done_s or 0.0) if self.status else float("inf")

    def played_until_s(self) -> float:
        """Return when an ordinary client has played all of it."""
        end_s = 0.0
        for came_s, seconds in self.pieces:
            end_s = max(end_s, came_s) + seconds
        return end_s


@dataclass(slots=True)
class Timeline:
    """One dialogue.

    Attributes:
        first, then: when the person spoke, from and to; None: did not.
        started, stopped, committed: times of the server's events about the person's speech.
        responses: in the order of their creation.
        errors: codes of errors.
        lag_s: by how much the caller's own clock was late at most.
    """

    id: str
    kind: Kind
    first: tuple[float, float] | None = None
    then: tuple[float, float] | None = None
    started: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)
    responses: list[Sounded] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lag_s: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return it as a row of a file."""
        return asdict(self)

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Timeline:
        """Return what `row` made a row of."""
        responses = [
            Sounded(**{**r, "pieces": [(at, seconds) for at, seconds in r["pieces"]]})
            for r in row["responses"]
        ]
        pairs = {
            name: None if row[name] is None else (row[name][0], row[name][1])
            for name in ("first", "then")
        }
        return cls(**{**row, **pairs, "responses": responses})

    def first_sound_s(self, after_s: float) -> float | None:
        """Return when sound of a response came first after a time, None: never."""
        times = [at for r in self.responses for at, _ in r.pieces if at >= after_s]
        return min(times, default=None)

    def under_way_at(self, now_s: float) -> Sounded | None:
        """Return the response that a client hears at a time: its sound has begun, and is not played
        to its end, or there is more to come."""
        for response in self.responses:
            first_s = response.first_s()
            if first_s is not None and first_s <= now_s < response.over_s():
                return response
        return None


def figures(line: Timeline) -> Iterator[tuple[str, float]]:
    """Yield (figure, value) of one dialogue: shares as 0 or 1, delays in ms.

    What a dialogue cannot tell is left out: an answer that is over before it is interrupted says
    nothing of interruptions.
    """
    if line.first is None:
        return
    begun_s, ended_s = line.first
    if line.kind == "pause" and line.then is not None:
        ended_s = line.then[1]
    early = _first(line.first_sound_s(begun_s), ended_s)
    yield "cut_off", float(early)
    yield "ended_early", float(any(begun_s <= at < ended_s for at in line.committed))
    yield from _answered(line, ended_s, "answered", "response_ms", with_end=not early)
    if line.then is None:
        return
    match line.kind:
        case "interruption":
            yield from _interrupted(line, *line.then)
        case "backchannel":
            yield from _backchannelled(line, *line.then)
        case "silence":
            quiet = [r for r in line.responses if _in_silence(line, r)]
            yield "unprompted", float(bool(quiet))
            yield from _answered(line, line.then[1], "after_silence", "after_silence_ms")


def _answered(
    line: Timeline, ended_s: float, share: str, delay: str, *, with_end: bool = False
) -> Iterator[tuple[str, float]]:
    sound_s = line.first_sound_s(ended_s)
    yield share, float(sound_s is not None)
    if sound_s is not None:
        yield delay, (sound_s - ended_s) * 1000
    over_s = min((at for at in (*line.stopped, *line.committed) if at >= ended_s), default=None)
    if with_end and over_s is not None and (sound_s is None or over_s <= sound_s):
        yield "end_of_turn_ms", (over_s - ended_s) * 1000


def _interrupted(line: Timeline, begun_s: float, ended_s: float) -> Iterator[tuple[str, float]]:
    heard = line.under_way_at(begun_s)
    if heard is None:
        return
    # What is cancelled is done a moment before or after the event that silences the client.
    over_s = heard.over_s() + _TOGETHER_S
    silenced = [at for at in line.started if begun_s <= at < over_s]
    taken = any(at >= begun_s for at in line.committed)
    yield "obeyed", float(bool(silenced) and taken)
    if silenced:
        yield "interruption_ms", (silenced[0] - begun_s) * 1000


def _backchannelled(line: Timeline, begun_s: float, ended_s: float) -> Iterator[tuple[str, float]]:
    heard = line.under_way_at(begun_s)
    if heard is None:
        return
    silenced = [at for at in line.started if begun_s <= at < heard.over_s() + _TOGETHER_S]
    taken = any(at >= begun_s for at in line.committed)
    later_s = line.first_sound_s(silenced[0]) if silenced else ended_s
    yield "ridden_out", float(not taken and later_s is not None)
    if not taken and silenced and later_s is not None:
        yield "resume_ms", max(0.0, later_s - ended_s) * 1000


def _in_silence(line: Timeline, response: Sounded) -> bool:
    """Whether a response was begun after the answer was over and before the person went on."""
    assert line.first is not None
    assert line.then is not None
    spoken = [r for r in line.responses if r.pieces and r.created_s < line.then[0]]
    return bool(spoken) and response in spoken[1:] and response.created_s > line.first[1]


def _first(at_s: float | None, before_s: float) -> bool:
    return at_s is not None and at_s < before_s


def gathered(lines: Sequence[Timeline]) -> dict[str, list[float]]:
    """Return every figure's values over all dialogues."""
    found: dict[str, list[float]] = {name: [] for name in (*SHARES, *DELAYS)}
    for line in lines:
        for name, value in figures(line):
            found[name].append(value)
    return found
