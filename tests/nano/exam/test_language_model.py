import math
from collections import defaultdict

import pytest

from step_audio.nano.exam.language_model import BEGIN, END, bigram_arpa

WORDS = ["berlin", "france", "is", "paris"]
SENTENCES = [["france", "is", "paris"]] * 20 + [["is", "berlin", "unknown", "is"]]


def _read(arpa: str) -> tuple[dict[str, float], dict[str, float], dict[tuple[str, str], float]]:
    ones, backoffs, twos = {}, {}, {}
    for line in arpa.splitlines():
        fields = line.split()
        if len(fields) != 3 or not fields[0].lstrip("-").replace(".", "").isdigit():
            continue
        try:
            backoffs[fields[1]] = 10 ** float(fields[2])
            ones[fields[1]] = 10 ** float(fields[0])
        except ValueError:
            twos[fields[1], fields[2]] = 10 ** float(fields[0])
    return ones, backoffs, twos


@pytest.mark.parametrize("history", [BEGIN, *WORDS])
def test_every_history_sums_to_one(history: str) -> None:
    ones, backoffs, twos = _read(bigram_arpa(SENTENCES, WORDS))
    targets = [*WORDS, END]
    total = sum(twos.get((history, w), backoffs[history] * ones[w]) for w in targets)
    assert math.isclose(total, 1.0, abs_tol=2e-3)


def test_no_word_is_ruled_out_after_any_other() -> None:
    ones, backoffs, twos = _read(bigram_arpa(SENTENCES, WORDS))
    chances: dict[str, float] = defaultdict(float)
    for word in WORDS:
        chances[word] = twos.get(("is", word), backoffs["is"] * ones[word])
    assert min(chances.values()) > 0.02
    assert max(chances.values()) < 0.8


def test_words_outside_the_vocabulary_are_left_out() -> None:
    assert "unknown" not in bigram_arpa(SENTENCES, WORDS)
