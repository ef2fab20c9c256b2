"""What the tests of the data engine say and hear: two texts, tones, a reader and a gate."""

from __future__ import annotations

import numpy as np

from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from step_audio.data.gates import UtteranceGate
from step_audio.data.manifest import TextLine
from step_audio.data.readers import SpokenLine
from step_audio.data.write import Exchange
from tokenizer.turns import TurnTiming
from tokenizer.vad import EnergyTurnDetector

RATE = 16_000
ASKED = Exchange("what time is it", "It is noon.", ("get_time", "{}"), '{"time":"noon"}')
PLAIN = Exchange("say hello", "Hello there.", source={"by": "test"})


def tone(seconds: float, hertz: float = 200.0, level: float = 0.3) -> Pcm:
    t = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(int(hertz)).standard_normal(len(t)) * 1e-4
    return (level * np.sin(2 * np.pi * hertz * t) + noise).astype(np.float32)


class ToneReader:
    """A tone as long as the text; refuses the word "unsayable"."""

    def __init__(self) -> None:
        self.read_texts: list[str] = []

    def read(self, line: TextLine) -> SpokenLine:
        self.read_texts.append(line.text)
        if "unsayable" in line.text:
            raise InputError("cannot say unsayable")
        pause = np.random.default_rng(1).standard_normal(4000).astype(np.float32) * 1e-4
        sound = np.concatenate([pause, tone(0.06 * len(line.text), 100 + len(line.text)), pause])
        return SpokenLine(sound, RATE, "tone", {"engine": "tone", "licence": "none"})


def gate(heard: str = "") -> UtteranceGate:
    return UtteranceGate(EnergyTurnDetector(TurnTiming()), hear=lambda pcm, rate: heard)
