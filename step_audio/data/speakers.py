"""The machine voices that nano is trained and examined on, with their licences.

Speech is never stored in the repository: it is made again from text by these Debian packages.
The licence given is that of the voice data; synthesised sound is not a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from step_audio.core.errors import InputError

EngineName = Literal["flite", "espeak", "festival", "rhvoice", "accent"]
Split = Literal["train", "guest", "held"]

CMU: Final = "CMU Flite licence (BSD style, free of charge, keep the notice)"
EDINBURGH: Final = "CSTR Edinburgh licence (BSD style, keep the notice)"
GPL: Final = "GPL-3.0-or-later (espeak-ng and its variants)"
ARCTIC: Final = "CMU ARCTIC recordings (free, keep the notice); voice by RHVoice, GPL-3.0-or-later"

IFM: Final = "GPL-2.0-or-later (IFM Development Team)"
SUOPUHE: Final = "LGPL-2.0-or-later (University of Helsinki)"
BRAILCOM: Final = "GPL-2.0-or-later or GPL-3.0-or-later (Brailcom)"
INDIC: Final = "GPL-2.0-or-later (festival-hi)"


@dataclass(frozen=True, slots=True)
class Speaker:
    """One voice of one synthesis engine.

    Attributes:
        name: our key, `engine-voice`.
        engine: the program that speaks; `synthesis.PACKAGES` names its Debian package.
        voice: the name the program knows it by.
        sex: "m" or "f", as heard.
        licence: licence of the voice data.
        split: "held" voices are for examination only and never enter a training set; "guest"
            voices train where they are asked for, because they need more packages.
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
    Speaker("festival-ked", "festival", "ked_diphone", "m", EDINBURGH, "held"),
    _espeak("en-us+klatt4", "m", "held"),
)

ANSWER_SPEAKERS: Final[tuple[str, ...]] = ("flite-rms", "flite-slt")
"""Names of the two voices that nano answers in."""


def speaker(name: str) -> Speaker:
    """Return the speaker of that name. Raises InputError: there is none."""
    for candidate in SPEAKERS:
        if candidate.name == name:
            return candidate
    raise InputError(f"unknown speaker {name!r}; see step_audio.data.speakers.SPEAKERS")


def speakers(split: Split) -> tuple[Speaker, ...]:
    """Return the speakers of one split, in the order of the table."""
    return tuple(s for s in SPEAKERS if s.split == split)


def draw_training_speaker(
    rng: np.random.Generator, real_share: float = 0.5, guest_share: float = 0.0
) -> Speaker:
    """Draw a voice to learn from.

    Args:
        rng: draws.
        real_share: of the draws that are no guests, how many fall on recorded people.
        guest_share: of all draws, how many fall on guests.
    """
    pool: Sequence[Speaker] = speakers("guest")
    if not (guest_share and rng.random() < guest_share):
        real = rng.random() < real_share
        pool = [s for s in speakers("train") if (s.engine != "espeak") == real]
    return pool[int(rng.integers(len(pool)))]
