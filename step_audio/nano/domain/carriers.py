"""Carriers: phrasings with slots, expanded from the YAML files, and how they become questions.

A carrier is one expanded pattern; what stands around it (frames, fillers, tails, contractions,
self-repairs) is drawn freely, so a held-out carrier is new in all of its dress.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from step_audio.nano.domain.sample import Split

KINDS: Final = ("ask", "clause", "command", "short")
HELD_CARRIERS_PERCENT: Final = 12
HELD_COMBOS_PERCENT: Final = 10
# A last slot of free words would swallow what follows it.
OPEN_SLOTS: Final = ("{words}", "{word}", "{manner}", "{x}")
WHOLE_GROUPS: Final = ("small_talk/",)  # "shut up if you can" is nothing that people say


@dataclass(frozen=True, slots=True)
class Carrier:
    """One phrasing. `kind` says what may stand before it; `held` keeps it out of training."""

    group: str
    kind: str
    pattern: str
    held: bool

    @property
    def id(self) -> str:
        """`intent/pattern` or `intent/group/pattern`."""
        return f"{self.group}/{self.pattern}"


@dataclass(frozen=True, slots=True)
class Phrasings:
    """The carriers of one group, sorted by split and kind."""

    carriers: tuple[Carrier, ...]
    by_split: Mapping[Split, tuple[tuple[Carrier, ...], ...]]

    def has(self, split: Split) -> bool:
        """Return whether any carrier belongs to the split."""
        return bool(self.by_split[split])

    def pick(self, rng: random.Random, split: Split) -> Carrier:
        """Return a random carrier of the split; kinds are equally likely.

        Raises:
            ValueError: none belongs to the split.
        """
        if not self.has(split):
            raise ValueError(f"no carrier of split {split!r}")
        return rng.choice(rng.choice(self.by_split[split]))


@dataclass(frozen=True, slots=True)
class Slot:
    """The words of a slot and, for self-repairs, a way to draw other words of its kind."""

    words: str
    other: Callable[[random.Random], str] | None = None


def held_by_hash(key: str, percent: int) -> bool:
    """Return whether `key` is in the held-out share; the same on every machine and run."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < percent


def held_combo(*parts: str) -> bool:
    """Return whether a combination of slot values is kept out of training."""
    return held_by_hash("combo|" + "|".join(parts), HELD_COMBOS_PERCENT)


def expand(pattern: str) -> list[str]:
    """Return all strings of a pattern with (a|b) alternatives and [x] options, single-spaced.

    Raises:
        ValueError: brackets do not match.
    """
    strings, end = _alternatives(pattern, 0)
    if end != len(pattern):
        raise ValueError(f"unmatched bracket at {end} in {pattern!r}")
    return list(dict.fromkeys(" ".join(text.split()) for text in strings))


def _alternatives(pattern: str, at: int) -> tuple[list[str], int]:
    done: list[str] = []
    open_: list[str] = [""]
    while at < len(pattern) and pattern[at] not in ")]":
        char = pattern[at]
        if char in "([":
            inner, end = _alternatives(pattern, at + 1)
            if end >= len(pattern) or pattern[end] != {"(": ")", "[": "]"}[char]:
                raise ValueError(f"unmatched bracket at {at} in {pattern!r}")
            inner = [*inner, ""] if char == "[" else inner
            open_ = [head + tail for head in open_ for tail in inner]
            at = end
        elif char == "|":
            done, open_ = done + open_, [""]
        else:
            open_ = [text + char for text in open_]
        at += 1
    return done + open_, at


@cache
def load(name: str) -> Any:
    """Return the content of a YAML file of this package; callers do not change it."""
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def bare(pattern: str) -> str:
    """Return a pattern without what may also be drawn around it.

    Two carriers of which one is the other in a frame ("can you count", "count") can give the
    same question, so they must share a split.
    """
    rules = load("frames")
    frames = [frame for rule in rules["frames"].values() for frame in rule["choices"]]
    heads, tails = [*rules["fillers"]["choices"], *frames], rules["tails"]["choices"]
    before, text = "", pattern
    while before != text:
        before = text
        for head in heads:
            text = text.removeprefix(f"{head} ")
        for tail in tails:
            text = text.removesuffix(f" {tail}")
    return text


def phrasings_of(group: str, kinds: Mapping[str, Any]) -> Phrasings:
    """Expand the patterns under the keys ask, clause, command and short; other keys are ignored."""
    found: dict[str, Carrier] = {}
    for kind in KINDS:
        for pattern in kinds.get(kind, ()):
            for text in expand(pattern):
                held = held_by_hash(f"carrier|{group}|{bare(text)}", HELD_CARRIERS_PERCENT)
                found.setdefault(text, Carrier(group, kind, text, held))
    by_split: dict[Split, tuple[tuple[Carrier, ...], ...]] = {}
    for split in ("train", "held"):
        members = [carrier for carrier in found.values() if carrier.held == (split == "held")]
        kinds_of = (tuple(c for c in members if c.kind == kind) for kind in KINDS)
        by_split[split] = tuple(same for same in kinds_of if same)
    return Phrasings(tuple(found.values()), by_split)


@cache
def phrasings(group: str) -> Phrasings:
    """Return the carriers of a group of carriers.yaml, such as "sum" or "time/city"."""
    return phrasings_of(group, load("carriers")[group])


def ask(rng: random.Random, carrier: Carrier, slots: Mapping[str, Slot]) -> str:
    """Return a question in the words of `carrier`, with frames, fillers and slips of the tongue."""
    rules = load("frames")
    text = carrier.pattern
    for long, contracted in rules["contractions"]["pairs"]:
        if rng.random() < rules["contractions"]["chance"]:
            text = re.sub(rf"\b{long}\b", contracted, text, count=1)
    text = re.sub(r"\{(\w+)\}", lambda match: _said(rng, slots[match[1]]), text)
    parts = [_choice(rng, rules["fillers"]), _choice(rng, rules["frames"][carrier.kind]), text]
    closed = carrier.pattern.endswith(OPEN_SLOTS) or carrier.group.startswith(WHOLE_GROUPS)
    if not closed:
        parts.append(_choice(rng, rules["tails"]))
    return " ".join(part for part in parts if part).lower()


def _said(rng: random.Random, slot: Slot) -> str:
    rules = load("frames")
    if slot.other is not None and rng.random() < rules["repairs"]["chance"]:
        wrong = slot.other(rng)
        if wrong != slot.words:
            return f"{wrong} {rng.choice(rules['repairs']['choices'])} {slot.words}"
    if rng.random() < rules["hesitations"]["chance"]:
        return f"{rng.choice(rules['hesitations']['choices'])} {slot.words}"
    return slot.words


def _choice(rng: random.Random, rule: Mapping[str, Any]) -> str:
    if rng.random() < rule["bare"]:
        return ""
    return str(rng.choice(rule["choices"]))


def sentence(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]
