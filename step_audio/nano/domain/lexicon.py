"""Every word of the domain and how it is pronounced.

`pronunciations.dict` holds exactly the words that questions and answers can contain.
After a change of the YAML files, write it anew:
    python -m step_audio.nano.domain.lexicon cmudict-en-us.dict
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final

from step_audio.nano.domain.carriers import load
from step_audio.nano.domain.knowledge import CYCLES
from step_audio.nano.domain.numbers import ONES, ORDINALS, OTHERS, TENS
from step_audio.nano.domain.tool_questions import UNIT_WORDS
from step_audio.nano.tools.results import CITY_ZONES, CONDITIONS, MONTHS, TIMER_OVER, WEEKDAYS

FILES: Final = ("carriers", "facts", "frames", "places", "talk")
DICT_NAME: Final = "pronunciations.dict"
# Mappings whose keys are words, too.
SPOKEN_KEYS: Final = frozenset({"countries", "items", "roles", "style_manner"})
# Not in CMUdict, or there spelled out.
OWN: Final = {"baa": ("B AA", "B AE"), "kyiv": ("K IY IH V", "K IY V", "K IH V")}


@cache
def pronunciations() -> dict[str, list[list[str]]]:
    """Return word to pronunciations, each a list of lower-case ARPAbet phones without stress."""
    text = resources.files(__package__).joinpath(DICT_NAME).read_text(encoding="ascii")
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        word, *phones = line.split()
        found.setdefault(re.sub(r"\(\d+\)$", "", word), []).append([p.lower() for p in phones])
    return found


@cache
def vocabulary() -> tuple[str, ...]:
    """Return every word that questions or answers can contain, sorted, lower case."""
    return tuple(sorted(pronunciations()))


@cache
def clear_words() -> tuple[str, ...]:
    """Return the words of at least two letters that sound like no other word."""
    words_by_sound: dict[str, set[str]] = {}
    for word, sounds in pronunciations().items():
        for sound in sounds:
            words_by_sound.setdefault(" ".join(sound), set()).add(word)
    shared = {word for words in words_by_sound.values() if len(words) > 1 for word in words}
    return tuple(word for word in vocabulary() if word not in shared and len(word) > 1)


def salad(
    rng: random.Random, vocabulary: Sequence[str], min_words: int = 1, max_words: int = 8
) -> str:
    """Return `min_words` to `max_words` random words: speech that no template can guess."""
    return " ".join(rng.choices(vocabulary, k=rng.randint(min_words, max_words)))


def words_of_data() -> set[str]:
    """Return every word in the data files and in what the code says: the whole vocabulary."""
    texts = [
        *ONES,
        *TENS,
        *ORDINALS,
        *OTHERS,
        *CITY_ZONES,
        *CONDITIONS,
        *MONTHS,
        *WEEKDAYS,
        TIMER_OVER,
    ]
    texts += resources.files(__package__).joinpath("spelling.txt").read_text("utf-8").split()
    texts += [name for names in CYCLES.values() for name in names]
    texts += [name for one, many, names in UNIT_WORDS.values() for name in (one, many, *names)]
    for name in FILES:
        texts += _strings(load(name))
    words = set(ascii_lowercase)
    for text in texts:
        words.update(re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", text).lower()))
    return words


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key in SPOKEN_KEYS and isinstance(value, dict):
                yield from value
            yield from _strings(value)


def dictionary_lines(cmudict: Path) -> list[str]:
    """Return the lines of `pronunciations.dict` for the words of the data.

    Raises:
        KeyError: words that neither CMUdict nor `OWN` has.
    """
    wanted = words_of_data()
    found: dict[str, list[str]] = {word: list(sounds) for word, sounds in OWN.items()}
    for line in cmudict.read_text(encoding="utf-8").splitlines():
        entry, sound = line.split(maxsplit=1)
        word = re.sub(r"\(\d+\)$", "", entry)
        if word in wanted and word not in OWN:
            found.setdefault(word, []).append(sound)
    if missing := sorted(wanted - set(found)):
        raise KeyError(f"no pronunciation for: {', '.join(missing)}")
    return [
        f"{word}{f'({at})' if at > 1 else ''} {sound}"
        for word in sorted(wanted)
        for at, sound in enumerate(found[word], start=1)
    ]


def main(arguments: Sequence[str]) -> int:
    """Write `pronunciations.dict` of this package from a CMUdict in pocketsphinx's format."""
    lines = dictionary_lines(Path(arguments[0]))
    Path(__file__).with_name(DICT_NAME).write_text("\n".join(lines) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
