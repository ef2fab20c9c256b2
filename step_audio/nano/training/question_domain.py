"""Write down what nano is taught to be asked: `lm/questions.json` of its weights.

    python -m step_audio.nano.training.question_domain --weights step_audio/weights/nano

`pack` does the same with a new LM. See `step_audio.dialog.prompting.question_domain`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from step_audio.core.error_rates import units
from step_audio.core.weights import record_more
from step_audio.dialog.prompting.question_domain import marked_words
from step_audio.nano.domain import generate, generate_intent
from step_audio.nano.domain.carriers import phrasings
from step_audio.nano.domain.numbers import words_of_numbers

NAME: Final = "questions.json"
DRAWN: Final = 40_000
"""Questions that are drawn; their words stand in 71 000 pairs."""

SEED: Final = 1
OPEN: Final = {"repeat": "repeat", "spell": "spell", "weather": "weather", "time": "time/city"}
"""Intents with a slot for words that the model copies, whichever they are, to their carriers."""

DECLINED: Final = "what is the meaning of life"
"""Of the grammar's requests that are declined the one that says least."""

TWO_MEANINGS: Final = frozenset({"second", "point", "oh"})
"""Words of numbers that are something else as well."""


def write_questions(folder: Path) -> None:
    """Write the file into `lm/` of a weights folder; its manifest stays as it is."""
    followers = question_pairs(DRAWN, SEED)
    lines = {word: " ".join(sorted(behind)) for word, behind in sorted(followers.items())}
    content = {
        "declined": DECLINED,
        "numbers": " ".join(sorted(_numbers())),
        "openings": sorted(openings()),
        "followers": lines,
    }
    text = json.dumps(content, indent=0, ensure_ascii=True)
    (folder / "lm" / NAME).write_text(text + "\n", encoding="ascii")


def question_pairs(drawn: int, seed: int) -> dict[str, set[str]]:
    """Return which words stand behind which in training questions."""
    rng = random.Random(seed)
    followers: dict[str, set[str]] = defaultdict(set)
    samples = [generate(rng, "train") for _ in range(drawn)]
    copied = [intent for intent in OPEN for _ in range(drawn // 20)]
    samples += [generate_intent(rng, intent, "train") for intent in copied]
    for sample in samples:
        words = marked_words(units(sample.question), _numbers())
        for before, word in itertools.combinations(words, 2):
            followers[before].add(word)
    return followers


def openings() -> set[str]:
    """Return the last words, at most three, before a slot for any words that ends a phrasing."""
    found: set[str] = set()
    for group in OPEN.values():
        for carriers in phrasings(group).by_split["train"]:
            for carrier in carriers:
                before, slot, behind = carrier.pattern.partition("{")
                if before and slot and behind.endswith("}") and "{" not in behind:
                    found.add(" ".join(before.split()[-3:]))
    return found


def _numbers() -> frozenset[str]:
    return words_of_numbers() - TWO_MEANINGS


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="a packed weights folder")
    folder = Path(parser.parse_args(argv).weights)
    write_questions(folder)
    record_more(folder, [f"lm/{NAME}"])


if __name__ == "__main__":
    main()
