"""A traced session again, in lockstep with its trace.

Each record is done in turn: a message is handled, an event is taken and compared, with the clock
at the time of the trace. So the session meets exactly what it met, however fast this machine is.
Ids are the session's own each time; they are matched by where they first appear. Words and sound of
an answer leave in any mixture, as the protocol allows, so each of the two is compared for itself.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from server.observability.trace import VERSION, shortened
from server.realtime.connection.expiry import EXPIRED, WARNING
from server.realtime.session.dispatch import RealtimeSession
from server.realtime.session.send_queue import SendQueue
from server.realtime.wire.versions.negotiate import SHAPES, version_of
from step_audio.core.errors import InputError
from step_audio.dialog.assistant import Assistant

_ID: Final = re.compile(r"\b(?:event|item|resp|conv|sess|item_call|call)_[0-9a-f]{16,40}\b")
_SKIPPED: Final = frozenset({"session.resumable", "session.resumed", WARNING})
MAX_SHOWN: Final = 10


class ReplayClock:
    """Stands where the trace stands."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        """Return the time of the current record."""
        return self.at_s


@dataclass(slots=True)
class ReplayReport:
    """What a replay met. `differences`: the first few, in words."""

    messages: int = 0
    events: int = 0
    same: int = 0
    differences: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "messages": self.messages,
            "events": self.events,
            "same": self.same,
            "differences": self.differences[:MAX_SHOWN],
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """A session to go through again. `dialect`: that its upgrade asked for."""

    dialect: str | None
    records: Sequence[dict[str, Any]]


def read_trace(path: Path) -> Trace:
    """Return the trace in a file. Raises InputError: it is none, or of another version."""
    lines = _lines(path)
    head = next(lines, {"trace": VERSION})
    dialect = head.get("dialect")
    if head.get("trace") != VERSION or dialect not in (None, *SHAPES):
        raise InputError(f"{path} is no trace of version {VERSION}")
    return Trace(dialect, [at for at in lines if isinstance(at.get("at_ms"), int | float)])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError
                yield record
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path} is no trace: not JSON lines") from None


async def replay(
    assistant: Assistant,
    clock: ReplayClock,
    trace: Trace,
    *,
    voice_names: Mapping[str, str] | None = None,
    patience_s: float = 30.0,
) -> ReplayReport:
    """Go through a trace with a fresh session; `clock` is the one in the assistant's services.

    Args:
        voice_names: the operator's voices for names that clients send.
        patience_s: an event that does not come in this time is missing, and ends the replay.
    """
    report, ids, send_queue = ReplayReport(), _Ids(), SendQueue()
    lanes = _Lanes(report, ids)
    async with asyncio.TaskGroup() as tasks:
        shape = version_of(trace.dialect)
        session = RealtimeSession(assistant, send_queue, tasks, shape, voice_names=voice_names)
        for record in trace.records:
            clock.at_s = record["at_ms"] / 1000
            if isinstance(record.get("in"), str):
                report.messages += 1
                await session.handle(ids.ours(record["in"]))
            elif isinstance(record.get("out"), dict) and not _of_the_line(record["out"]):
                report.events += 1
                try:
                    async with asyncio.timeout(patience_s):
                        got = shortened(await send_queue.take())
                except TimeoutError:
                    report.differences.append(f"{record['out']['type']} never came")
                    break
                lanes.compare(_timeless(record["out"]), _timeless(got))
        await session.close()
    lanes.end()
    return report


class _Ids:
    """Ids of the trace and ours, as they appear."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}

    def ours(self, text: str) -> str:
        """Return a message of the trace with our ids in place of its own."""
        return _ID.sub(lambda found: self._ours.get(found[0], found[0]), text)

    def difference(self, wanted: dict[str, Any], got: dict[str, Any]) -> str | None:
        """Return how an event differs from the trace's, None when it does not."""
        if wanted["type"] != got["type"]:
            return f"{got['type']}, not {wanted['type']}"
        there, here = json.dumps(wanted, sort_keys=True), json.dumps(got, sort_keys=True)
        for theirs, own in zip(_ID.findall(there), _ID.findall(here), strict=False):
            self._ours.setdefault(theirs, own)
        if self.ours(there) == here:
            return None
        parts = [
            key
            for key in wanted
            if self.ours(json.dumps(wanted[key], sort_keys=True))
            != json.dumps(got.get(key), sort_keys=True)
        ]
        return f"{wanted['type']} differs in {', '.join(parts) or 'its keys'}"


class _Lanes:
    """Events wanted and got, each kind of delta and all the rest in an order of their own."""

    def __init__(self, report: ReplayReport, ids: _Ids) -> None:
        self._report, self._ids = report, ids
        self._wanted: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._got: dict[str, deque[dict[str, Any]]] = defaultdict(deque)

    def compare(self, wanted: dict[str, Any], got: dict[str, Any]) -> None:
        """Take the next of each."""
        self._wanted[_lane(wanted)].append(wanted)
        self._got[_lane(got)].append(got)
        for lane in {_lane(wanted), _lane(got)}:
            while self._wanted[lane] and self._got[lane]:
                there, here = self._wanted[lane].popleft(), self._got[lane].popleft()
                if difference := self._ids.difference(there, here):
                    self._report.differences.append(difference)
                else:
                    self._report.same += 1

    def end(self) -> None:
        """Note what has no counterpart."""
        for wanted in self._wanted.values():
            self._report.differences += [f"{event['type']} is missing" for event in wanted]


def _of_the_line(event: dict[str, Any]) -> bool:
    """Whether an event came from the socket's side, which a replay has not."""
    ended = event["type"] == "error" and event["error"].get("code") == EXPIRED
    return ended or event["type"] in _SKIPPED


def _timeless(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without the hour at which its session would have ended."""
    session = event.get("session")
    if not isinstance(session, dict):
        return event
    return {**event, "session": {k: v for k, v in session.items() if k != "expires_at"}}


def _lane(event: dict[str, Any]) -> str:
    kind = str(event["type"])
    return kind if kind.endswith(".delta") else ""
