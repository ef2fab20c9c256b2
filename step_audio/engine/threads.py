"""How many CPU threads the LM computes with: one, unless a short measurement says otherwise.

One id at a time is little work, so threads pay only for models of some size on cores that nobody
else wants: on two shared cores, two threads made an LM of 30M parameters seventy times slower.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import torch

log = logging.getLogger(__name__)

_TRIES: Final = 7
_WORTH: Final = 1.25
"""A further thread must make a step so much faster, or it is left to others."""


def use_threads(count: int) -> None:
    """Let this thread compute with so many, and leave all other threads as they are.

    PyTorch keeps the count per thread, but `set_num_threads` also sets what threads take that
    compute for the first time later. So that value is put back, from a thread of its own.
    """
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    torch.get_num_threads()  # fixes this thread's count before the common value changes again
    restorer = threading.Thread(target=torch.set_num_threads, args=(usual,))
    restorer.start()
    restorer.join()


def choose_threads(
    step: Callable[[], object],
    most: int,
    *,
    now: Callable[[], float] = time.perf_counter,
    use: Callable[[int], None] = use_threads,
) -> int:
    """Return the number of threads for a step, and leave it set for the calling thread.

    Tries 1, 2, 4, ... up to `most`, and stops at the first that is not worth it. Each is judged by
    the median of a few steps, so that other work on the machine counts against it.
    """
    chosen, best = 1, _median_s(step, 1, now, use) if most > 1 else 0.0
    count = 2
    while count <= most:
        took = _median_s(step, count, now, use)
        if took * _WORTH > best:
            break
        chosen, best = count, took
        count *= 2
    use(chosen)
    log.info("threads of the language model", extra={"threads": chosen, "step_s": best})
    return chosen


def _median_s(
    step: Callable[[], object], count: int, now: Callable[[], float], use: Callable[[int], None]
) -> float:
    use(count)
    step()  # starts the threads
    times = []
    for _ in range(_TRIES):
        began = now()
        step()
        times.append(now() - began)
    return sorted(times)[_TRIES // 2]
