"""Streaming vocoder: token groups in, sound out, in chunks that grow.

Each chunk is one window of the flow: some groups already spoken, whose mel is given as known,
then the new groups, then a look-ahead. The mel of the look-ahead is made again with the next
chunk and the two are cross-faded; the finished mel goes to the waveform stream, and that of
the look-ahead with it as a guess at what follows, so that no sound is held back. The first chunk
is short, for a quick start; later ones are longer, because the overhead of a window is fixed.
Windows are decided by counting groups, so nothing depends on when groups arrive, and a window has
a largest size, so a second of speech costs the same however long the stream.

Sound is at 22.05 kHz, exactly 2646 samples a group; the edge resamples for its clients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from step_audio.core.errors import ShapeError, StepAudioError
from step_audio.core.ports import ChunkSizes
from step_audio.core.types import MEL_BANDS, Pcm, TokenGroup, Voice
from step_audio.core.vocab import GROUP_SIZE, vocoder_codes
from vocoder.batching import SharedFlow
from vocoder.flow import FlowInput, FlowModel
from vocoder.grid import GROUP_SAMPLES, SAMPLE_RATE_HZ, frames_until
from vocoder.noise import mel_noise

_WHOLE = 1_000_000  # groups, more than any answer has


class WaveStream(Protocol):
    """Mel to samples, 256 a frame; `vocoder.hift_stream.HiftStream` is one."""

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Take finished frames (T, 80) and a guess at those after them; return samples."""

    def flush(self) -> list[Pcm]:
        """Return the samples of all frames that were held back."""


OpenWave = Callable[[int], WaveStream]
"""Seed to a fresh stream."""


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How a stream is cut into windows, in groups of 120 ms.

    Attributes:
        sizes: new groups of the first chunks; the last entry repeats.
        context: groups before the new ones whose mel is given.
        lookahead: groups after the new ones that must have arrived; at least 1.
        prompt: at most so many groups of the voice's prompt, from its end.
    """

    sizes: tuple[int, ...] = (2, 3, 5, 8)
    context: int = 4
    lookahead: int = 1
    prompt: int = 25

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.lookahead < 1:
            raise ShapeError(f"{self}: sizes and look-ahead must be at least 1")
        if self.context < 0 or self.prompt < 0:
            raise ShapeError(f"{self}: context and prompt must not be negative")


class FlowVocoder:
    """Flow and waveform generator behind the `Vocoder` port. Shared and immutable."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(
        self,
        flow: FlowModel,
        open_wave: OpenWave,
        *,
        plan: ChunkPlan | None = None,
        n_steps: int | None = None,
        guidance: float | None = None,
        noise_scale: float = 1.0,
        max_batch: int = 8,
        keeps_time: bool = True,
    ) -> None:
        """Join the two models.

        Args:
            flow: as `vocoder.flow_loading.load_flow` returns it.
            open_wave: opens a waveform stream for a seed.
            plan: how streams are cut.
            n_steps: Euler steps; None: as many as the weights were judged at.
            guidance: strength; None: the weights'. 0 halves the cost of a guided flow.
            noise_scale: deviation of the flow's start; below 1 is steadier and less lively.
            max_batch: most streams that share a pass through the flow.
            keeps_time: whether the waveform streams give 256 samples a frame.
        """
        self._flow = SharedFlow(flow, n_steps, guidance, max_batch)
        self._open_wave, self._plan = open_wave, plan or ChunkPlan()
        self._noise_scale, self._keeps_time = noise_scale, keeps_time

    @property
    def chunks(self) -> ChunkSizes:
        """How streams are cut."""
        return ChunkSizes(self._plan.sizes, self._plan.lookahead)

    def in_one_piece(self) -> FlowVocoder:
        """Return the same models without streaming: all sound comes at `flush`, of one window."""
        return FlowVocoder(
            self._flow.flow,
            self._open_wave,
            plan=replace(self._plan, sizes=(_WHOLE,)),
            n_steps=self._flow.n_steps,
            guidance=self._flow.guidance,
            noise_scale=self._noise_scale,
            max_batch=1,
        )

    def with_waves(self, open_wave: OpenWave) -> FlowVocoder:
        """Return the same flow, shared, in front of waveform streams that keep no time."""
        other = copy.copy(self)
        other._open_wave, other._keeps_time = open_wave, False
        return other

    def open(self, voice: Voice, seed: int = 0) -> FlowStream:
        """Start a stream in a voice; equal groups, voice and seed give equal samples.

        Raises:
            ShapeError: the voice's arrays are not of the model's shapes, or not finite.
        """
        wave = self._open_wave(seed)
        return FlowStream(
            self._flow,
            wave,
            voice,
            seed=seed,
            plan=self._plan,
            noise_scale=self._noise_scale,
            keeps_time=self._keeps_time,
        )


class FlowStream:
    """One stream through a `FlowVocoder`. Raises TokenError on a code outside its codebook."""

    def __init__(
        self,
        flow: SharedFlow,
        wave: WaveStream,
        voice: Voice,
        *,
        seed: int,
        plan: ChunkPlan,
        noise_scale: float = 1.0,
        keeps_time: bool = True,
    ) -> None:
        self._flow, self._wave, self._plan = flow, wave, plan
        self._noise_scale, self._keeps_time = noise_scale, keeps_time
        self._device = flow.flow.input_embedding.weight.device
        self._seed = seed
        self._set_voice(voice)
        self._codes: list[int] = []  # from group `_first` on
        self._first = 0  # first group still held
        self._done = 0  # groups whose mel is finished
        self._received = 0
        self._chunks = 0
        self._mel = torch.zeros((0, MEL_BANDS), device=self._device)  # of groups _first .. _done
        self._ahead = self._mel  # first guess at the frames after _done
        self._samples = 0
        self._flushed = False

    @property
    def wave(self) -> WaveStream:
        """What makes the sound of the mel."""
        return self._wave

    def push(self, group: TokenGroup, /) -> list[Pcm]:
        """Take a group; return the sound that became ready, mostly none."""
        if self._flushed:
            raise StepAudioError("push after flush: open a new stream")
        self._codes += vocoder_codes([group])
        self._received += 1
        sizes = self._plan.sizes
        size = sizes[min(self._chunks, len(sizes) - 1)]
        if self._received < self._done + size + self._plan.lookahead:
            return []
        return self._speak(size)

    def flush(self) -> list[Pcm]:
        """Return the rest; in all, every group gave 120 ms, where the waveform keeps time."""
        if self._flushed:
            return []
        self._flushed = True
        if not self._received:
            return []
        return self._speak(self._received - self._done) + self._sound(self._wave.flush())

    def _set_voice(self, voice: Voice) -> None:
        embedding = torch.as_tensor(voice.embedding, dtype=torch.float32)
        mel = torch.as_tensor(voice.prompt_mel, dtype=torch.float32)
        size = self._flow.flow.config.spk_embed_dim
        if embedding.shape != (size,) or mel.ndim != 2 or mel.shape[1] != MEL_BANDS:
            raise ShapeError(
                f"voice {voice.name!r}: embedding {tuple(embedding.shape)} for ({size},), "
                f"prompt mel {tuple(mel.shape)} for (T, {MEL_BANDS})"
            )
        if not bool(embedding.isfinite().all()) or not bool(mel.isfinite().all()):
            raise ShapeError(f"voice {voice.name!r} holds numbers that are not finite")
        whole = len(voice.prompt_groups)
        groups = voice.prompt_groups[max(0, whole - self._plan.prompt) :]
        mel = mel[max(0, len(mel) - _frames_of(len(groups), whole, len(mel))) :]
        if not len(groups) or not len(mel) or not self._plan.prompt:
            groups, mel = (), mel[:0]
        self._embedding = embedding.to(self._device)
        self._prompt_mel = mel.to(self._device)
        self._prompt_tokens = torch.tensor(
            vocoder_codes(groups), dtype=torch.int64, device=self._device
        )

    def _speak(self, size: int) -> list[Pcm]:
        mel = self._advance(size)
        return self._sound(self._wave.push(mel, self._ahead))

    def _advance(self, size: int) -> Tensor:
        """Finish `size` more groups; return their mel, (T, 80)."""
        start, end = frames_until(self._done), frames_until(self._done + size)
        window = self._generate()[start - frames_until(self._first) :]
        new, ahead = window[: end - start].clone(), window[end - start :]
        overlap = min(len(self._ahead), len(new))
        if overlap:
            fade = torch.arange(1, overlap + 1, device=self._device)[:, None] / (overlap + 1)
            new[:overlap] = torch.lerp(self._ahead[:overlap], new[:overlap], fade)
        self._done += size
        self._chunks += 1
        self._ahead = ahead.clone()
        self._forget(torch.cat((self._mel, new)))
        return new

    def _generate(self) -> Tensor:
        """Run the flow over everything held, (frames, 80)."""
        first, last = frames_until(self._first), frames_until(self._received)
        prompt = len(self._prompt_mel)
        noise = np.concatenate(
            (mel_noise(self._seed, -prompt, 0), mel_noise(self._seed, first, last)), axis=1
        )
        window = FlowInput(
            tokens=torch.tensor(self._codes, device=self._device),
            embedding=self._embedding,
            noise=torch.from_numpy(noise).to(self._device) * self._noise_scale,
            frames=last - first,
            known=self._mel,
            prompt_tokens=self._prompt_tokens,
            prompt_mel=self._prompt_mel,
        )
        return self._flow.generate(window)

    def _forget(self, mel: Tensor) -> None:
        """Keep what the next window needs: `context` groups and those not finished."""
        first = max(self._first, self._done - self._plan.context)
        self._codes = self._codes[GROUP_SIZE * (first - self._first) :]
        self._mel = mel[frames_until(first) - frames_until(self._first) :].clone()
        self._first = first

    def _sound(self, pieces: Iterable[Pcm]) -> list[Pcm]:
        """Pass pieces on, none beyond the last received group."""
        if not self._keeps_time:
            return [piece for piece in pieces if len(piece)]
        out: list[Pcm] = []
        for piece in pieces:
            kept = piece[: self._received * GROUP_SAMPLES - self._samples]
            self._samples += len(kept)
            if len(kept):
                out.append(kept)
        return out


def _frames_of(groups: int, whole: int, frames: int) -> int:
    """Return how many of a prompt's last frames belong to its last groups.

    Where tokens and mel cover the same time, that is the grid. Examples made as the reference
    makes them have a mel with the silence around it: the regulator stretches the tokens over it,
    so the share of the groups is the share of the frames.
    """
    if not whole or frames <= frames_until(whole):
        return frames_until(groups)
    return round(frames * groups / whole)
