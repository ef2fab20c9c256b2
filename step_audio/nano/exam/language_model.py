"""A weak bigram language model in ARPA form: it knows how words follow, not which facts hold.

P(b|a) = (count(a b) + weight * U(b)) / (count(a) + weight), where the unigram U is itself half
uniform. The uniform half and the large weight keep every word of the vocabulary likely anywhere,
so that the judge who uses this model cannot repair an answer by what it ought to have said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

BEGIN, END = "<s>", "</s>"


def bigram_arpa(
    sentences: Iterable[Sequence[str]], vocabulary: Iterable[str], weight: float = 20.0
) -> str:
    """Return the model of the sentences over the vocabulary in ARPA text form.

    Args:
        sentences: words of each sentence; words outside the vocabulary cut it in two.
        vocabulary: every word that can be heard.
        weight: mass added to each history's counts and spread as the unigram.
    """
    words = sorted(set(vocabulary))
    unigrams, followers = _count(sentences, frozenset(words))
    total = sum(unigrams.values()) or 1
    targets = [*words, END]
    unigram = {w: 0.5 * unigrams[w] / total + 0.5 / len(targets) for w in targets}
    ones, twos = [], []
    for word in [BEGIN, *targets]:
        after = followers.get(word, Counter())
        mass = sum(after.values()) + weight
        seen = {b: (count + weight * unigram[b]) / mass for b, count in sorted(after.items())}
        # What the seen words leave, spread over the others in proportion to the unigram.
        rest = max(1.0 - sum(unigram[b] for b in seen), 1e-9)
        backoff = max(1.0 - sum(seen.values()), 1e-9) / rest
        ones.append(f"{_log(unigram.get(word, 0.0))} {word} {_log(backoff)}")
        twos += [f"{_log(p)} {word} {b}" for b, p in seen.items()]
    header = f"\\data\\\nngram 1={len(ones)}\nngram 2={len(twos)}\n"
    return "\n".join([header, "\\1-grams:", *ones, "", "\\2-grams:", *twos, "", "\\end\\", ""])


def _count(
    sentences: Iterable[Sequence[str]], known: frozenset[str]
) -> tuple[Counter[str], dict[str, Counter[str]]]:
    unigrams: Counter[str] = Counter()
    followers: dict[str, Counter[str]] = {}
    for sentence in sentences:
        before = BEGIN
        for word in (*sentence, END):
            if word != END and word not in known:
                before = ""
                continue
            unigrams[word] += 1
            if before:
                followers.setdefault(before, Counter())[word] += 1
            before = word
    return unigrams, followers


def _log(probability: float) -> str:
    return f"{math.log10(probability):.4f}" if probability > 0 else "-99.0000"
