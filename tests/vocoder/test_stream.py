"""Streaming vocoder: a tiny flow with random weights, and a waveform stream that shows its mel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from step_audio.core.errors import ShapeError, StepAudioError, TokenError
from step_audio.core.types import Pcm, TokenGroup, Voice
from vocoder.batching import SharedFlow
from vocoder.encoder import EncoderConfig
from vocoder.estimator import EstimatorConfig
from vocoder.flow import FlowInput, FlowModel
from vocoder.flow_config import FlowConfig
from vocoder.grid import GROUP_SAMPLES, HOP_SAMPLES, frames_until
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.hift_stream import HiftStream
from vocoder.noise import mel_noise
from vocoder.stream import ChunkPlan, FlowStream, FlowVocoder


class MelAsSound:
    """Waveform stream at the seam: a frame becomes 256 samples of its first band."""

    def __init__(self, seed: int) -> None:
        self.frames: list[Tensor] = []
        self.guesses: list[int] = []

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        self.frames.append(mel)
        self.guesses.append(0 if ahead is None else len(ahead))
        return [mel[:, 0].repeat_interleave(HOP_SAMPLES).numpy()]

    def flush(self) -> list[Pcm]:
        return []


def tiny_flow() -> FlowModel:
    torch.manual_seed(7)
    config = FlowConfig(
        input_size=16,
        encoder=EncoderConfig(16, 16, 2, 32, 1),
        estimator=EstimatorConfig(
            channels=(16, 16), attention_head_dim=8, n_blocks=1, num_mid_blocks=1, num_heads=2
        ),
        inference_cfg_rate=0.0,
        n_steps=2,
    )
    return FlowModel(config).eval()


FLOW = tiny_flow()
VOCODER = FlowVocoder(FLOW, MelAsSound)


def voice(prompt_groups: int = 0) -> Voice:
    rng = np.random.default_rng(3)
    return Voice(
        name="test",
        embedding=rng.standard_normal(192).astype(np.float32),
        prompt_groups=tuple(groups(prompt_groups, seed=9)),
        prompt_mel=rng.standard_normal((frames_until(prompt_groups), 80)).astype(np.float32),
    )


def groups(n: int, seed: int = 0) -> list[TokenGroup]:
    rng = np.random.default_rng(seed)
    return [
        TokenGroup(
            (int(rng.integers(1024)), int(rng.integers(1024))),
            (int(rng.integers(4096)), int(rng.integers(4096)), int(rng.integers(4096))),
        )
        for _ in range(n)
    ]


def speak(stream: FlowStream, spoken: list[TokenGroup]) -> list[Pcm]:
    return [piece for group in spoken for piece in stream.push(group)] + stream.flush()


@settings(deadline=None, max_examples=12)
@given(n=st.integers(0, 40), prompt=st.sampled_from([0, 2, 30]))
def test_every_group_gives_120_ms(n: int, prompt: int) -> None:
    pieces = speak(VOCODER.open(voice(prompt)), groups(n))
    assert sum(map(len, pieces)) == n * GROUP_SAMPLES


def test_equal_groups_and_seed_give_equal_sound_and_another_seed_does_not() -> None:
    def said(seed: int) -> Pcm:
        return np.concatenate(speak(VOCODER.open(voice(), seed), groups(20)))

    np.testing.assert_array_equal(said(1), said(1))
    assert np.abs(said(1) - said(2)).max() > 1e-3


def test_two_streams_fed_in_turn_equal_two_streams_fed_alone() -> None:
    a, b = groups(15, seed=1), groups(15, seed=2)
    first, second = VOCODER.open(voice(), 1), VOCODER.open(voice(3), 2)
    got_a: list[Pcm] = []
    got_b: list[Pcm] = []
    for one, other in zip(a, b, strict=True):
        got_a += first.push(one)
        got_b += second.push(other)
    got_a += first.flush()
    got_b += second.flush()
    np.testing.assert_array_equal(
        np.concatenate(got_a), np.concatenate(speak(VOCODER.open(voice(), 1), a))
    )
    np.testing.assert_array_equal(
        np.concatenate(got_b), np.concatenate(speak(VOCODER.open(voice(3), 2), b))
    )


def test_chunks_grow_and_wait_for_their_look_ahead() -> None:
    stream = VOCODER.open(voice())
    ready = [sum(map(len, stream.push(g))) > 0 for g in groups(28)]
    assert [i + 1 for i, sounded in enumerate(ready) if sounded] == [3, 6, 11, 19, 27]


def test_a_window_is_the_same_size_however_long_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    generate = SharedFlow.generate

    def watched(self: SharedFlow, window: FlowInput) -> Tensor:
        sizes.append(len(window.tokens))
        return generate(self, window)

    monkeypatch.setattr(SharedFlow, "generate", watched)
    speak(VOCODER.open(voice()), groups(120))
    assert max(sizes) == 5 * (4 + 8 + 1)
    assert set(sizes[4:-1]) == {65}


def test_a_stream_of_one_window_equals_the_flow_alone() -> None:
    said = groups(6)
    plan = ChunkPlan(sizes=(20,))
    wave = MelAsSound(0)
    stream = FlowVocoder(FLOW, lambda _: wave, plan=plan).open(voice(), 5)
    speak(stream, said)
    codes = [c + 1024 * (i > 1) for g in said for i, c in enumerate((*g.linguistic, *g.semantic))]
    window = FlowInput(
        tokens=torch.tensor(codes),
        embedding=torch.from_numpy(voice().embedding),
        noise=torch.from_numpy(mel_noise(5, 0, frames_until(6))),
        frames=frames_until(6),
    )
    torch.testing.assert_close(wave.frames[0], FLOW.generate(window))


def test_the_wave_is_shown_what_probably_follows() -> None:
    wave = MelAsSound(0)
    speak(FlowVocoder(FLOW, lambda _: wave).open(voice()), groups(7))
    assert wave.guesses == [11, 11, 0]
    assert sum(map(len, wave.frames)) == frames_until(7)


def test_no_sound_is_held_back_and_a_true_guess_changes_none() -> None:
    """With the real frames as guess, enough of them, the sound is the offline one."""
    torch.manual_seed(0)
    small = HiftConfig(base_channels=16, f0_channels=8)
    generator = HiftGenerator(small).eval()
    mel = torch.randn(90, 80) - 5
    whole = HiftStream(generator, 3)
    expected = np.concatenate([*whole.push(mel), *whole.flush()])
    stream = HiftStream(generator, 3)
    got: list[Pcm] = []
    for start in range(0, 90, 30):
        pieces = stream.push(mel[start : start + 30], ahead=mel[start + 30 : start + 60])
        got += pieces
        if start < 60:
            assert sum(map(len, got)) == (start + 30) * HOP_SAMPLES
    got += stream.flush()
    np.testing.assert_allclose(np.concatenate(got), expected, rtol=0, atol=1e-5)


def test_look_ahead_is_faded_into_what_replaces_it() -> None:
    """The first frame after a cut leans on the guess that preceded it."""
    wave = MelAsSound(0)
    stream = FlowVocoder(FLOW, lambda _: wave).open(voice())
    said = groups(6)
    for group in said[:3]:
        stream.push(group)
    guess = stream._ahead.clone()
    for group in said[3:]:
        stream.push(group)
    faded = wave.frames[1][: len(guess)]
    again = stream_without_fade(said)
    weight = torch.arange(1, len(guess) + 1)[:, None] / (len(guess) + 1)
    torch.testing.assert_close(faded, torch.lerp(guess, again[: len(guess)], weight))


def stream_without_fade(said: list[TokenGroup]) -> Tensor:
    wave = MelAsSound(0)
    stream = FlowVocoder(FLOW, lambda _: wave).open(voice())
    for group in said[:3]:
        stream.push(group)
    stream._ahead = stream._ahead[:0]
    for group in said[3:]:
        stream.push(group)
    return wave.frames[1]


def test_noise_of_a_frame_does_not_depend_on_the_window() -> None:
    whole = mel_noise(11, -40, 300)
    for start, stop in ((-40, -1), (-1, 1), (0, 32), (31, 33), (200, 300), (5, 5)):
        np.testing.assert_array_equal(mel_noise(11, start, stop), whole[:, start + 40 : stop + 40])
    assert abs(float(whole.mean())) < 0.02
    assert float(whole.std()) == pytest.approx(1, abs=0.02)
    assert np.abs(whole - mel_noise(12, -40, 300)).max() > 1
    mel_noise(-(1 << 70), 0, 3)  # any integer is a seed


def test_a_long_prompt_is_cut_to_its_end() -> None:
    stream = VOCODER.open(voice(40))
    assert len(stream._prompt_tokens) == 5 * 25
    assert len(stream._prompt_mel) == frames_until(25)


@pytest.mark.parametrize("bad", [np.zeros(10, np.float32), np.full(192, np.nan, np.float32)])
def test_a_bad_speaker_vector_is_refused(bad: Pcm) -> None:
    with pytest.raises(ShapeError, match="voice 'x'"):
        VOCODER.open(Voice(name="x", embedding=bad))


def test_codes_outside_the_codebooks_are_refused() -> None:
    with pytest.raises(TokenError):
        VOCODER.open(voice()).push(TokenGroup((1024, 0), (0, 0, 0)))


def test_nothing_may_follow_flush() -> None:
    stream = VOCODER.open(voice())
    stream.flush()
    assert stream.flush() == []
    with pytest.raises(StepAudioError, match="flush"):
        stream.push(groups(1)[0])


@pytest.mark.parametrize("sizes", [(), (0,), (2, -1)])
def test_an_impossible_plan_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        ChunkPlan(sizes=sizes)


def test_without_noise_the_seed_does_not_matter() -> None:
    quiet = FlowVocoder(FLOW, MelAsSound, noise_scale=0.0)
    one, two = (np.concatenate(speak(quiet.open(voice(), seed), groups(5))) for seed in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "bad",
    [
        TokenGroup((1024, 0), (0, 0, 0)),
        TokenGroup((0, -1), (0, 0, 0)),
        TokenGroup((0, 0), (4096, 0, 0)),
        TokenGroup((3000, 3000), (5, 5, 5)),  # semantic codes where linguistic ones belong
    ],
)
def test_a_bad_group_is_refused_and_the_stream_goes_on_as_if_it_had_not_come(
    bad: TokenGroup,
) -> None:
    said = groups(9)
    stream, beside = VOCODER.open(voice(), 1), VOCODER.open(voice(), 2)
    got, other = [], []
    for number, one in enumerate(said):
        if number == 4:
            with pytest.raises(TokenError):
                stream.push(bad)
        got += stream.push(one)
        other += beside.push(one)
    got, other = got + stream.flush(), other + beside.flush()
    for sound, seed in ((got, 1), (other, 2)):
        alone = np.concatenate(speak(VOCODER.open(voice(), seed), said))
        np.testing.assert_array_equal(np.concatenate(sound), alone)


def test_one_group_is_120_ms_and_none_is_silence_of_no_length() -> None:
    assert sum(map(len, speak(VOCODER.open(voice()), groups(1)))) == GROUP_SAMPLES
    assert speak(VOCODER.open(voice()), []) == []
