"""Streams that share passes of the flow sound as they do alone."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from step_audio.core.errors import ShapeError
from tests.vocoder.test_stream import FLOW, MelAsSound, groups, speak, voice
from vocoder.batching import SharedFlow
from vocoder.flow import FlowInput, FlowModel
from vocoder.noise import mel_noise
from vocoder.stream import FlowVocoder

# Sums of a batch are taken in another order, and of masked frames: float32 rounding, which the
# solver's steps carry on. Log-mel of speech moves by whole nats.
ATOL = 2e-4


def window(tokens: int, seed: int, prompt: int = 0) -> FlowInput:
    generator = torch.Generator().manual_seed(seed)
    frames = FLOW.frames(tokens)
    return FlowInput(
        tokens=torch.randint(5120, (tokens,), generator=generator),
        embedding=torch.randn(192, generator=generator),
        noise=torch.from_numpy(mel_noise(seed, -prompt, frames)),
        known=torch.randn(frames // 3, 80, generator=generator),
        prompt_tokens=torch.randint(5120, (prompt // 2,), generator=generator),
        prompt_mel=torch.randn(prompt, 80, generator=generator),
    )


@pytest.mark.parametrize("guidance", [0.0, 0.7])
def test_windows_of_any_lengths_come_out_of_a_batch_as_alone(guidance: float) -> None:
    windows = [window(25, 1), window(60, 2, prompt=31), window(61, 3), window(5, 4, prompt=8)]
    together = FLOW.generate_all(windows, 3, guidance)
    for mel, one in zip(together, windows, strict=True):
        torch.testing.assert_close(mel, FLOW.generate(one, 3, guidance), rtol=0, atol=ATOL)


def test_guidance_changes_the_mel_and_none_is_the_weights_own() -> None:
    one = window(25, 1)
    assert not torch.allclose(FLOW.generate(one, 2, 0.7), FLOW.generate(one, 2, 0.0), atol=1e-2)
    torch.testing.assert_close(FLOW.generate(one, 2), FLOW.generate(one, 2, 0.0))


def test_streams_due_together_share_a_pass_and_sound_as_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    together = FlowModel.generate_all
    entered, all_wait = threading.Event(), threading.Event()

    def watched(
        self: FlowModel, windows: list[FlowInput], n_steps: int | None, guidance: float | None
    ) -> object:
        sizes.append(len(windows))
        if len(sizes) == 1:  # the first pass lasts until everybody else is due
            entered.set()
            assert all_wait.wait(20)
        return together(self, windows, n_steps, guidance)

    vocoder = FlowVocoder(FLOW, MelAsSound)
    alone = [
        np.concatenate(speak(vocoder.open(voice(seed), seed), groups(11 + seed, seed)))
        for seed in range(4)
    ]
    monkeypatch.setattr(FlowModel, "generate_all", watched)
    with ThreadPoolExecutor(4) as pool:
        streams = [vocoder.open(voice(seed), seed) for seed in range(4)]
        said = [groups(11 + seed, seed) for seed in range(4)]
        spoken = [pool.submit(speak, streams[0], said[0])]
        assert entered.wait(20)
        spoken += [pool.submit(speak, streams[i], said[i]) for i in (1, 2, 3)]
        while len(vocoder._flow._waiting) < 3:
            threading.Event().wait(0.001)
        all_wait.set()
        for got, expected in zip(spoken, alone, strict=True):
            np.testing.assert_allclose(
                np.concatenate(got.result()), expected, rtol=0, atol=50 * ATOL
            )
    assert sizes[1] >= 3


def test_a_bad_window_costs_the_others_nothing() -> None:
    shared = SharedFlow(FLOW, 2)
    good, bad = window(10, 1), window(10, 2)
    bad = FlowInput(bad.tokens, bad.embedding, bad.noise[:, 1:])
    results: list[object] = []
    with ThreadPoolExecutor(2) as pool, shared._pass:
        calls = [pool.submit(shared.generate, one) for one in (bad, good)]
        while len(shared._waiting) < 2:
            threading.Event().wait(0.001)
        shared._run_together()
    results = [call.exception() or call.result() for call in calls]
    assert isinstance(results[0], ShapeError)
    torch.testing.assert_close(results[1], FLOW.generate(good, 2))


def test_no_pass_is_larger_than_allowed() -> None:
    shared = SharedFlow(FLOW, 1, max_batch=2)
    with ThreadPoolExecutor(3) as pool, shared._pass:
        calls = [pool.submit(shared.generate, window(5, seed)) for seed in range(3)]
        while len(shared._waiting) < 3:
            threading.Event().wait(0.001)
        shared._run_together()
        assert len(shared._waiting) == 1
        shared._run_together()
    assert [tuple(call.result().shape) for call in calls] == [(10, 80)] * 3


def test_bfloat16_stays_close() -> None:
    """Eight bits of mantissa: the mel of this random flow, of deviation 1, moves by a hundredth."""
    half = copy.deepcopy(FLOW)
    half.decoder.estimator.bfloat16()
    one = window(25, 1, prompt=20)
    exact, rough = FLOW.generate(one, 3), half.generate(one, 3)
    assert rough.dtype == torch.float32
    assert 0 < float((exact - rough).abs().mean()) < 0.03 * float(exact.std())
