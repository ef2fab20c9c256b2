"""Speech to train the waveform generator on: spoken here, kept as samples and pitch.

Nothing is downloaded: sentences are drawn from a word list, spoken by the training voices, and
measured for pitch on the mel's own frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from step_audio.data.speakers import ANSWER_SPEAKERS, Speaker, draw_training_speaker, speaker
from step_audio.data.synthesis import Job, SynthesisError, synthesize_many
from vocoder.mel import MelConfig

_WORD_TEXT: Final = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred plus minus times degrees miles metres pounds litres gallons seconds minutes hours "
    "monday tuesday wednesday thursday friday saturday sunday january february march april june "
    "july august september october november december spring summer autumn winter London Paris "
    "Tokyo Berlin Madrid Moscow Cairo Vienna Zurich Chicago Boston Seattle Singapore Stockholm "
    "Warsaw Nairobi Shanghai Geneva Budapest Copenhagen Wellington Ottawa Edinburgh Reykjavik "
    "France Japan Brazil Kenya Thailand Ukraine Switzerland Mexico India weather sunny cloudy "
    "rain snow wind storm warm cold hot the a is are was and or but not of in on at to from with "
    "capital country largest smallest planet ocean mountain river animal whale cheetah giraffe "
    "spider chicken horse bird bees honey milk eggs water triangle square hexagon guitar violin "
    "alphabet vowels football bicycle Shakespeare Leonardo Armstrong moon Portuguese Spanish "
    "German Arabic Europe Asia Africa America green blue white red yellow orange black brown "
    "happy sad fast slow early late open closed rich poor strong weak big small old young light "
    "hello goodbye thanks please sorry welcome pleasure robot pirate king teacher child chef "
    "cowboy butler treasure ship captain kitchen recipe horse saddle lesson story joke laugh "
    "timer question answer repeat spell whisper louder softer faster slower would could should "
    "you we they it my your their this that these those understand remember tell give make take "
    "quick fox jumps over lazy dog judge measure vision azure thought through rough beige church "
    "shrimp splash strength twelfth sixths asks quartz wharf yawn zebra unique oil boy joy noise"
)
WORDS: Final = tuple(_WORD_TEXT.split())

CARRIERS: Final = (
    "The answer is {0} {1}.",
    "In {0}, it is {1} and {2}.",
    "I think that {0} {1} {2} {3}.",
    "{0}, {1}, {2}, {3}, {4}.",
    "Did you say {0} or {1}?",
    "Well, {0} {1} makes {2}.",
    "The capital of {0} is {1}.",
    "I am sorry, I did not understand {0}.",
    "Your timer for {0} {1} is set.",
    "Once upon a time, {0} {1} met {2} {3}, and they {4}.",
)

_SHARE_ANSWER_VOICES = 0.66
_BATCH = 400
_SILENCE_PEAK = 1e-3


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances end to end, each a whole number of mel hops.

    Attributes:
        pcm: (N,) int16 at the mel's rate.
        f0: Hz per mel frame, (N / hop,) float32; 0 where unvoiced.
        starts: first frame of each utterance, and the end of the last: (U + 1,) int64.
        texts, speakers: per utterance.
    """

    pcm: NDArray[np.int16]
    f0: NDArray[np.float32]
    starts: NDArray[np.int64]
    texts: tuple[str, ...]
    speakers: tuple[str, ...]

    def utterance(self, index: int, hop: int) -> Pcm:
        """Return the samples of one utterance."""
        first, last = int(self.starts[index]) * hop, int(self.starts[index + 1]) * hop
        pcm: Pcm = self.pcm[first:last].astype(np.float32) / np.float32(32768)
        return pcm


def draw_sentence(rng: np.random.Generator) -> str:
    """Return a sentence or, two times in five, up to ten words in no order at all."""
    if rng.random() < 0.4:
        words = rng.choice(WORDS, int(rng.integers(2, 11)))
        return " ".join(words).capitalize() + "."
    carrier = CARRIERS[int(rng.integers(len(CARRIERS)))]
    sentence = carrier.format(*rng.choice(WORDS, 5))
    return sentence[0].upper() + sentence[1:]


def draw_job(rng: np.random.Generator) -> Job:
    """Return a sentence in one of the answer voices or, less often, in any training voice."""
    chosen: Speaker
    if rng.random() < _SHARE_ANSWER_VOICES:
        chosen = speaker(ANSWER_SPEAKERS[int(rng.integers(len(ANSWER_SPEAKERS)))])
    else:
        chosen = draw_training_speaker(rng)
    pitch = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.85, 1.2))
    return Job(draw_sentence(rng), chosen, rate=float(rng.uniform(0.75, 1.25)), pitch=pitch)


def measure_f0(pcm: Pcm, config: MelConfig) -> NDArray[np.float32]:
    """Return Hz at the centre of each mel frame, 0 where unvoiced; (len(pcm) // hop,).

    Raises:
        InputError: pyworld is not installed.
    """
    try:
        import pyworld  # noqa: PLC0415 - only corpora are measured
    except ImportError:
        raise InputError(
            "pitch is measured by pyworld: pip install 'step-audio[pitch]', with a C++ compiler"
            " (apt-get install g++)"
        ) from None

    rate, hop = config.sampling_rate, config.hop_size
    frames = len(pcm) // hop
    centred = np.concatenate([pcm[hop // 2 :], np.zeros(2 * hop, np.float32)]).astype(np.float64)
    period_ms = 1000.0 * hop / rate
    coarse, times = pyworld.dio(centred, rate, f0_floor=60.0, f0_ceil=500.0, frame_period=period_ms)
    f0 = pyworld.stonemask(centred, coarse, times, rate)
    return np.asarray(f0[:frames], dtype=np.float32)


def _prepared(pcm: Pcm, rate_hz: int, config: MelConfig, rng: np.random.Generator) -> Pcm:
    import soxr  # noqa: PLC0415 - only corpora are resampled

    # soxr, as played-back pitch shifts give rates with no common factor.
    resampled = soxr.resample(pcm, rate_hz, config.sampling_rate)
    resampled = resampled[: len(resampled) // config.hop_size * config.hop_size]
    peak = max(float(np.abs(resampled).max(initial=0.0)), _SILENCE_PEAK)
    # Levels differ, as loudness styles ask for; the mel carries them.
    level = float(rng.uniform(0.3, 0.9))
    scaled: Pcm = (resampled * (level / peak)).astype(np.float32)
    return scaled


def _speak(seed: int, seconds: float, config: MelConfig) -> Iterator[tuple[Job, Pcm]]:
    rng = np.random.default_rng(seed)
    spoken = 0.0
    while spoken < seconds:
        jobs = [draw_job(rng) for _ in range(min(_BATCH, int((seconds - spoken) / 2) + 1))]
        for job, (pcm, rate_hz) in zip(jobs, synthesize_many(jobs, workers=1), strict=True):
            prepared = _prepared(pcm, rate_hz, config, rng)
            spoken += len(prepared) / config.sampling_rate
            if len(prepared) > 2 * config.n_fft:
                yield job, prepared


def build_corpus(folder: Path, minutes: float, seed: int, config: MelConfig) -> Corpus:
    """Return the corpus in `folder`, speaking and measuring it first if it is not there.

    Raises:
        SynthesisError: no engine could speak.
    """
    meta = folder / "corpus.json"
    if not meta.exists():
        pieces, pitches, rows = [], [], []
        for job, pcm in _speak(seed, minutes * 60, config):
            pieces.append((pcm * 32767).astype(np.int16))
            pitches.append(measure_f0(pcm, config))
            rows.append([job.text, job.speaker.name])
        if not pieces:
            raise SynthesisError("nothing was spoken; is flite installed?")
        starts = np.cumsum([0, *(len(f0) for f0 in pitches)]).astype(np.int64)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "pcm.npy", np.concatenate(pieces))
        np.save(folder / "f0.npy", np.concatenate(pitches))
        np.save(folder / "starts.npy", starts)
        meta.write_text(json.dumps({"hop": config.hop_size, "rows": rows}), encoding="utf-8")
    values = json.loads(meta.read_text(encoding="utf-8"))
    if values["hop"] != config.hop_size:
        raise InputError(f"{folder} was made for a hop of {values['hop']}; choose another folder")
    return Corpus(
        np.load(folder / "pcm.npy", mmap_mode="r"),
        np.load(folder / "f0.npy"),
        np.load(folder / "starts.npy"),
        tuple(row[0] for row in values["rows"]),
        tuple(row[1] for row in values["rows"]),
    )


@dataclass(frozen=True, slots=True)
class CropSampler:
    """Draws crops that lie within one utterance, with room for the mel window on both sides."""

    corpus: Corpus
    config: MelConfig
    held_out: int = 0

    def draw(self, batch: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return (wav with margins, f0): (B, frames * hop + 2 * margin) and (B, frames).

        The last `held_out` utterances are never drawn from.
        """
        hop, margin = self.config.hop_size, self.config.margin_samples
        starts = self.corpus.starts[: len(self.corpus.starts) - self.held_out]
        wavs: list[Tensor] = []
        pitches: list[Tensor] = []
        room = -(-margin // hop)
        while len(wavs) < batch:
            # A uniform frame, so that long utterances count for their length.
            frame = int(rng.integers(starts[-1]))
            utterance = int(np.searchsorted(starts, frame, side="right")) - 1
            first, last = int(starts[utterance]) + room, int(starts[utterance + 1]) - room
            if last - first < frames:
                continue
            begin = first + int(rng.integers(last - first - frames + 1))
            span = self.corpus.pcm[begin * hop - margin : (begin + frames) * hop + margin]
            wavs.append(torch.from_numpy(span.astype(np.float32) / np.float32(32768)))
            pitches.append(torch.from_numpy(self.corpus.f0[begin : begin + frames]))
        return torch.stack(wavs), torch.stack(pitches)
