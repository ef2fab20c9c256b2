"""The machine voices that nano is trained and examined on, with their licences.

Speech is never stored in the repository: it is made again from text by these Debian packages and,
for the natural voices, by the packages that `make nano-voices` fetches.
The licence given is that of the voice data; synthesised sound is not a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from step_audio.core.errors import InputError

EngineName = Literal["flite", "espeak", "festival", "rhvoice", "accent", "kokoro", "piper"]
Split = Literal["train", "guest", "natural", "held"]

CMU: Final = "CMU Flite licence (BSD style, free of charge, keep the notice)"
EDINBURGH: Final = "CSTR Edinburgh licence (BSD style, keep the notice)"
GPL: Final = "GPL-3.0-or-later (espeak-ng and its variants)"
ARCTIC: Final = "CMU ARCTIC recordings (free, keep the notice); voice by RHVoice, GPL-3.0-or-later"

IFM: Final = "GPL-2.0-or-later (IFM Development Team)"
SUOPUHE: Final = "LGPL-2.0-or-later (University of Helsinki)"
BRAILCOM: Final = "GPL-2.0-or-later or GPL-3.0-or-later (Brailcom)"
INDIC: Final = "GPL-2.0-or-later (festival-hi)"
KOKORO: Final = "Apache-2.0 (Kokoro-82M v1.0)"
PIPER_JOE: Final = "CC0 (Piper en_US joe)"


@dataclass(frozen=True, slots=True)
class Speaker:
    """One voice of one synthesis engine.

    Attributes:
        name: our key, `engine-voice`.
        engine: the program that speaks; `synthesis.PACKAGES` names its packages.
        voice: the name the program knows it by.
        sex: "m" or "f", as heard.
        licence: licence of the voice data.
        split: "held" voices are for examination only and never enter a training set; "guest" and
            "natural" voices train where they are asked for, because they need more packages.
    """

    name: str
    engine: EngineName
    voice: str
    sex: Literal["m", "f"]
    licence: str
    split: Split


# Variants left out: Alicia, Andy, Annie, steph and their kin, whispers, croak, robots; those with a
# word error rate above 0.6 over eight sentences in eval.judge (boris, Lee, marcelo, Michael, rob,
# travis, Marco, norbert, shelby, zac, gustave); klatt* (the held-out klatt4 is of their kind).
_ESPEAK_TRAIN: Final[dict[str, tuple[str, ...]]] = {
    "m": (
        "en-us",
        "en-us+adam",
        "en-us+Alex",
        "en-us+antonio",
        "en-us+benjamin",
        "en-us+caleb",
        "en-us+david",
        "en-us+Denis",
        "en-us+Diogo",
        "en-us+ed",
        "en-us+edward",
        "en-us+Gene",
        "en-us+Henrique",
        "en-us+Hugo",
        "en-us+iven",
        "en-us+john",
        "en-us+max",
        "en-us+michel",
        "en-us+Mike",
        "en-us+miguel",
        "en-us+Nguyen",
        "en-us+paul",
        "en-us+quincy",
        "en-us+sandro",
        "en-us+Storm",
        "en-us+victor",
        "en-us+m1",
        "en-us+m2",
        "en-us+m3",
        "en-us+m4",
        "en-us+m5",
        "en-us+m6",
        "en-us+m7",
        "en-us+m8",
        "en-gb",
        "en-gb-x-rp+m3",
        "en-gb-scotland+m7",
    ),
    "f": (
        "en-us+Andrea",
        "en-us+aunty",
        "en-us+anika",
        "en-us+belinda",
        "en-us+linda",
        "en-us+f1",
        "en-us+f2",
        "en-us+f3",
        "en-us+f4",
        "en-us+f5",
        "en-gb+f2",
        "en-gb-x-rp+f4",
    ),
}


def _espeak(voice: str, sex: Literal["m", "f"], split: Split) -> Speaker:
    return Speaker(f"espeak-{voice}", "espeak", voice, sex, GPL, split)


_KOKORO_TRAIN: Final = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_nicole", "af_nova"),
    *("af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam"),
    *("am_michael", "am_onyx", "am_santa", "bf_alice", "bf_emma", "bf_lily", "bm_daniel"),
    *("bm_george", "bm_lewis"),
)
"""Kokoro's English voices: a and b are American and British, f and m the sex."""

_KOKORO_HELD: Final = ("af_kore", "am_puck", "bf_isabella", "bm_fable")


def _kokoro(voice: str, split: Split) -> Speaker:
    sex: Literal["m", "f"] = "m" if voice[1] == "m" else "f"
    return Speaker(f"kokoro-{voice}", "kokoro", voice, sex, KOKORO, split)


SPEAKERS: Final[tuple[Speaker, ...]] = (
    Speaker("flite-rms", "flite", "rms", "m", CMU, "train"),
    Speaker("flite-slt", "flite", "slt", "f", CMU, "train"),
    Speaker("flite-awb", "flite", "awb", "m", CMU, "train"),
    Speaker("flite-kal16", "flite", "kal16", "m", CMU, "train"),
    # The same person as kal16 by another diphone engine, that of the held-out ked.
    Speaker("festival-kal", "festival", "kal_diphone", "m", EDINBURGH, "train"),
    *(_espeak(voice, "m", "train") for voice in _ESPEAK_TRAIN["m"]),
    *(_espeak(voice, "f", "train") for voice in _ESPEAK_TRAIN["f"]),
    Speaker("rhvoice-bdl", "rhvoice", "bdl", "m", ARCTIC, "guest"),
    Speaker("rhvoice-clb", "rhvoice", "clb", "f", ARCTIC, "guest"),
    Speaker("accent-lp", "accent", "lp_diphone", "f", IFM, "guest"),
    Speaker("accent-pc", "accent", "pc_diphone", "m", IFM, "guest"),
    Speaker("accent-lj", "accent", "suo_fi_lj_diphone", "f", SUOPUHE, "guest"),
    Speaker("accent-mv", "accent", "hy_fi_mv_diphone", "m", SUOPUHE, "guest"),
    Speaker("accent-dita", "accent", "czech_dita", "f", BRAILCOM, "guest"),
    Speaker("accent-krb", "accent", "czech_krb", "m", BRAILCOM, "guest"),
    Speaker("accent-machac", "accent", "czech_machac", "m", BRAILCOM, "guest"),
    Speaker("accent-ph", "accent", "czech_ph", "m", BRAILCOM, "guest"),
    Speaker("accent-nsk", "accent", "hindi_NSK_diphone", "m", INDIC, "guest"),
    *(_kokoro(voice, "natural") for voice in _KOKORO_TRAIN),
    *(_kokoro(voice, "held") for voice in _KOKORO_HELD),
    Speaker("piper-joe", "piper", "joe", "m", PIPER_JOE, "held"),
    Speaker("festival-ked", "festival", "ked_diphone", "m", EDINBURGH, "held"),
    _espeak("en-us+klatt4", "m", "held"),
)

ANSWER_SPEAKERS: Final[tuple[str, ...]] = ("flite-rms", "flite-slt")
"""Names of the two voices that nano answers in."""

BLENDED: Final = 0.5
"""Share of the natural voices drawn that are a mean of two: speakers that no package has."""


HELD_NATURAL: Final[tuple[str, ...]] = (
    *(f"kokoro-{voice}" for voice in _KOKORO_HELD),
    "piper-joe",
)
"""Names of the natural voices that only examine."""


def speaker(name: str) -> Speaker:
    """Return the speaker of that name, or the blend: "kokoro-af_heart+am_adam" is nobody, between
    the two. A blend with a voice that is held out is held out.

    Raises: InputError: there is none.
    """
    for candidate in SPEAKERS:
        if candidate.name == name:
            return candidate
    engine, _, voices = name.partition("-")
    if engine == "kokoro" and "+" in voices:
        return blend([speaker(f"kokoro-{voice}") for voice in voices.split("+")])
    raise InputError(f"unknown speaker {name!r}; see step_audio.data.speakers.SPEAKERS")


def is_held_out(name: str) -> bool:
    """Return whether a speaker's name, as corpora keep it, is of a voice that only examines."""
    engine, _, voices = name.partition("-")
    names = {name, *(f"{engine}-{voice}" for voice in voices.split("+"))}
    return any(candidate.name in names for candidate in speakers("held"))


def blend(parts: Sequence[Speaker]) -> Speaker:
    """Return the speaker whose style is the mean of several of Kokoro's.

    The first one decides how words are pronounced, American or British, and counts as the sex.

    Raises: InputError: fewer than two, or another engine's.
    """
    if len(parts) < 2 or any(part.engine != "kokoro" for part in parts):
        raise InputError("a blend takes two or more of Kokoro's voices")
    voice = "+".join(part.voice for part in parts)
    held = any(part.split == "held" for part in parts)
    split: Split = "held" if held else "natural"
    return Speaker(f"kokoro-{voice}", "kokoro", voice, parts[0].sex, KOKORO, split)


def speakers(split: Split) -> tuple[Speaker, ...]:
    """Return the speakers of one split, in the order of the table."""
    return tuple(s for s in SPEAKERS if s.split == split)


def draw_training_speaker(
    rng: np.random.Generator,
    real_share: float = 0.5,
    guest_share: float = 0.0,
    natural_share: float = 0.0,
) -> Speaker:
    """Draw a voice to learn from.

    Args:
        rng: draws.
        real_share: of the draws that are neither guests nor natural, how many fall on recorded
            people.
        guest_share: of the draws that are not natural, how many fall on guests.
        natural_share: of all draws, how many fall on natural voices, half of them blends of two.
    """
    if natural_share and rng.random() < natural_share:
        natural = speakers("natural")
        first, second = (natural[int(i)] for i in rng.choice(len(natural), 2, replace=False))
        return blend((first, second)) if rng.random() < BLENDED else first
    pool: Sequence[Speaker] = speakers("guest")
    if not (guest_share and rng.random() < guest_share):
        real = rng.random() < real_share
        pool = [s for s in speakers("train") if (s.engine != "espeak") == real]
    return pool[int(rng.integers(len(pool)))]
