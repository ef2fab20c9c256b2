"""One session's events -> measures."""

from __future__ import annotations

from collections.abc import Callable

from server.observability.turns import TurnReader, TurnTimes
from server.observability.watch import Event
from step_audio.core.ports import Recorder


class TurnMeter:
    """A `Watch` that measures each turn as it ends."""

    def __init__(
        self,
        recorder: Recorder,
        now_s: float,
        on_turn: Callable[[TurnTimes, float], None] = lambda turn, now_s: None,
    ) -> None:
        """Args: `on_turn` is given each turn that ended, and when."""
        self._recorder, self._on_turn = recorder, on_turn
        self._began_s = now_s
        self._reader = TurnReader()

    def received(self, text: str, now_s: float) -> None:
        """Nothing to measure: what clients say is content."""

    def sent(self, event: Event, now_s: float) -> None:
        """Follow the turn; observe it when it is done."""
        turn = self._reader.read(event, now_s)
        if turn is not None:
            self._observe(turn)
            self._on_turn(turn, now_s)

    def ended(self, now_s: float) -> None:
        """Observe how long the session was."""
        self._recorder.observe("session_s", now_s - self._began_s)

    def _observe(self, turn: TurnTimes) -> None:
        observe = self._recorder.observe
        observe(f"turns.{turn.status}", 1)
        for dry_s in turn.dry_s:
            observe("underruns", 1)
            observe("underrun_s", dry_s)
        if turn.first_sound_s is None or turn.last_sound_s is None:
            return
        if turn.committed_s is not None:
            observe("turn_first_audio_s", turn.first_sound_s - turn.committed_s)
        # Where a client forbids interruptions, or a cough was none, the answer goes on.
        if turn.status == "cancelled" and turn.interrupted_s is not None:
            observe("barge_in_silence_s", max(0.0, turn.last_sound_s - turn.interrupted_s))
        if turn.status == "completed" and turn.rtf is not None:
            observe("turn_rtf", turn.rtf)
