"""Threads of the LM: set for one thread only, and chosen by what they are worth."""

from __future__ import annotations

import threading

import pytest
import torch

from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.threads import choose_threads, use_threads


def test_a_count_for_one_thread_leaves_other_threads_alone() -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    seen: dict[str, int] = {}
    done, go = threading.Event(), threading.Event()

    def worker() -> None:
        use_threads(1)
        done.set()
        go.wait(10)
        seen["worker"] = torch.get_num_threads()

    def stranger() -> None:
        seen["stranger"] = torch.get_num_threads()

    threads = [threading.Thread(target=worker), threading.Thread(target=stranger)]
    threads[0].start()
    done.wait(10)
    threads[1].start()
    threads[1].join()
    go.set()
    threads[0].join()
    seen["main"] = torch.get_num_threads()
    torch.set_num_threads(usual)
    assert seen == {"worker": 1, "stranger": 3, "main": 3}


class Machine:
    """Pretends that a step with n threads takes so many seconds."""

    def __init__(self, *step_s: float) -> None:
        self._step_s = dict(zip((1, 2, 4, 8), step_s, strict=False))
        self.count, self.time_s = 0, 0.0
        self.tried: list[int] = []

    def use(self, count: int) -> None:
        self.count = count
        self.tried.append(count)

    def step(self) -> None:
        self.time_s += self._step_s[self.count]

    def now(self) -> float:
        return self.time_s


@pytest.mark.parametrize(
    ("step_s", "most", "chosen", "tried"),
    [
        ((1.0,), 1, 1, [1]),
        ((1.0, 0.6, 0.4, 0.39), 8, 4, [1, 2, 4, 8, 4]),
        ((1.0, 0.9), 2, 1, [1, 2, 1]),
        ((1.0, 70.0), 4, 1, [1, 2, 1]),
        ((1.0, 0.5, 0.25), 7, 4, [1, 2, 4, 4]),
    ],
)
def test_further_threads_must_be_worth_it(
    step_s: tuple[float, ...], most: int, chosen: int, tried: list[int]
) -> None:
    machine = Machine(*step_s)
    assert choose_threads(machine.step, most, now=machine.now, use=machine.use) == chosen
    assert machine.tried == tried
    assert machine.count == chosen


def test_a_real_step_can_be_measured(decoder: Step1Decoder) -> None:
    def step() -> None:
        decoder.extend(torch.zeros(1, 1, dtype=torch.long), [decoder.new_cache()])

    usual = torch.get_num_threads()
    assert choose_threads(step, 2) in (1, 2)
    torch.set_num_threads(usual)
