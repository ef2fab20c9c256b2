"""Windows of concurrent streams share a pass through the flow, unseen by the streams.

Nobody waits for company: while one pass runs, windows that become due queue up, and the next
pass takes them all. A lone stream therefore answers as soon as without.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from vocoder.flow import FlowInput, FlowModel


@dataclass
class _Due:
    """A window that waits for its mel; `failed` or `mel` is set when it is done."""

    window: FlowInput
    done: bool = False
    mel: Tensor | None = None
    failed: Exception | None = None


@dataclass
class SharedFlow:
    """A flow that several threads call at once.

    Attributes:
        flow: does the work; shared and immutable.
        n_steps, guidance: as of `FlowModel.generate`.
        max_batch: most windows in one pass.
    """

    flow: FlowModel
    n_steps: int | None = None
    guidance: float | None = None
    max_batch: int = 8
    _waiting: deque[_Due] = field(default_factory=deque)
    _queue: threading.Lock = field(default_factory=threading.Lock)
    _pass: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, window: FlowInput) -> Tensor:
        """Return the mel of a window, as `FlowModel.generate` does."""
        due = _Due(window)
        with self._queue:
            self._waiting.append(due)
        with self._pass:
            # Whoever ran before may have done this one too.
            while not due.done:
                self._run_together()
        if due.failed is not None:
            raise due.failed
        assert due.mel is not None
        return due.mel

    def _run_together(self) -> None:
        with self._queue:
            count = min(len(self._waiting), self.max_batch)
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            mels = self.flow.generate_all(
                [due.window for due in batch], self.n_steps, self.guidance
            )
            for due, mel in zip(batch, mels, strict=True):
                due.mel = mel
        except Exception as error:
            if len(batch) == 1:
                batch[0].failed = error
            else:  # One bad window must not cost the others their sound.
                for due in batch:
                    self._run_alone(due)
        finally:
            for due in batch:
                due.done = True

    def _run_alone(self, due: _Due) -> None:
        try:
            due.mel = self.flow.generate(due.window, self.n_steps, self.guidance)
        except Exception as error:
            due.failed = error  # raised in the thread it belongs to
