"""Sound that asks nothing: noises, tones, knocks and other languages, so that nano learns to say
that it did not understand. The examination's languages and sentences are not among these."""

from __future__ import annotations

import random
from typing import Final

import numpy as np

from step_audio.core.types import Pcm
from step_audio.data.augment import RATE_HZ, coloured_noise
from step_audio.data.speakers import GPL, Speaker
from step_audio.data.synthesis import Job
from step_audio.nano.domain import QaSample, generate_intent

FOREIGN: Final[dict[str, tuple[str, ...]]] = {
    "pt": ("Bom dia, onde fica o hotel", "Eu gosto de ler livros antigos", "A casa tem uma porta"),
    "da": ("Hvor er den gamle kirke", "Jeg har en hund og en kat", "Vi spiser aftensmad klokken"),
    "nb": ("Jeg bor i et lite hus ved havet", "Kan du hjelpe meg med dette", "Det er kaldt ute"),
    "ro": ("Unde este gara centrala", "Vreau o cafea cu lapte", "Copiii se joaca in parc"),
    "hu": ("Hol van a nagy templom", "Szeretek olvasni este", "A macska az asztal alatt alszik"),
    "cs": ("Kde je hlavni ulice", "Mam rad cerny chleb a syr", "Zitra pojedeme na vylet"),
    "hr": ("Gdje je more i plaza", "Moj brat ima novi auto", "Danas je lijep dan za kavu"),
    "tr": ("Bugun hava cok guzel", "Bir bardak su istiyorum", "Kitap masanin ustunde duruyor"),
    "id": ("Saya mau pergi ke pasar", "Rumah itu sangat besar", "Anak kecil suka bermain bola"),
    "et": ("Kus on lahim apteek", "Mulle meeldib talvel suusatada", "Meie maja on metsa juures"),
    "lt": ("Kur yra senas miestas", "Mano sesuo gyvena kaime", "Rytoj vaziuosime prie juros"),
    "la": ("Gallia est omnis divisa in partes tres", "Vita brevis ars longa", "Puella rosam amat"),
    "sw": ("Habari ya asubuhi rafiki", "Mimi ninapenda chai na mkate", "Watoto wanacheza nje"),
    "vi": ("Hom nay troi dep qua", "Toi muon mua mot cai ao", "Nha ga o dau"),
    "sk": ("Kde je najblizsi obchod", "Mam rad teple leto", "Moja mama vari dobru polievku"),
    "ca": ("On es la platja mes propera", "Vull un got de vi negre", "Els nens juguen al carrer"),
}
"""espeak-ng voice to sentences, written for this purpose in plain ASCII letters."""

_VARIANTS: Final = ("", "+m1", "+m3", "+m7", "+f2", "+f4")
FOREIGN_SHARE: Final = 0.6


def foreign_job(rng: random.Random) -> Job:
    """Return a sentence or two of a language that nano does not speak."""
    code = rng.choice(tuple(FOREIGN))
    text = ", ".join(rng.sample(FOREIGN[code], rng.choice((1, 1, 2))))
    voice = code + rng.choice(_VARIANTS)
    who = Speaker(f"espeak-{voice}", "espeak", voice, "m", GPL, "train")
    return Job(text, who, rate=rng.uniform(0.85, 1.2), pitch=rng.uniform(0.85, 1.15))


def no_speech(rng: random.Random, noise: np.random.Generator) -> Pcm:
    """Return silence, noise, hum or knocks at 16 kHz, (T,), half a second to three seconds."""
    samples = int(rng.uniform(0.5, 3.0) * RATE_HZ)
    level = np.float32(10 ** rng.uniform(-4.5, -0.7))
    made = rng.choice((_hiss, _hiss, _hum, _knocks))(samples, rng, noise)
    scaled: Pcm = made / np.float32(max(1e-6, float(np.abs(made).max()))) * level
    return scaled


def unasked(rng: random.Random) -> QaSample:
    """Return the sample of a sound that asks nothing; its question is ""."""
    while (qa := generate_intent(rng, "not_understood", "train")).question:
        pass
    return qa


def _hiss(samples: int, rng: random.Random, noise: np.random.Generator) -> Pcm:
    return coloured_noise(samples, noise)


def _hum(samples: int, rng: random.Random, noise: np.random.Generator) -> Pcm:
    base = 2 * np.pi * rng.uniform(50.0, 900.0) / RATE_HZ * np.arange(samples)
    partials = [np.sin(k * base) / k for k in range(1, rng.randint(2, 6))]
    sound: Pcm = np.sum(partials, axis=0).astype(np.float32)
    return sound + np.float32(0.03) * coloured_noise(samples, noise)


def _knocks(samples: int, rng: random.Random, noise: np.random.Generator) -> Pcm:
    sound = 0.01 * coloured_noise(samples, noise)
    for _ in range(rng.randint(1, 6)):
        length = rng.randint(300, 3000)
        start = rng.randrange(max(1, samples - length))
        fall = np.exp(-np.linspace(0.0, 7.0, length, dtype=np.float32))
        burst = coloured_noise(length, noise) * fall * np.float32(rng.uniform(1.0, 8.0))
        sound[start : start + length] += burst[: samples - start]
    return sound.astype(np.float32)
