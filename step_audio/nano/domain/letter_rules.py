"""Letter-to-sound rules, learned from a pronouncing dictionary, for words that it has not.

Each letter of a word stands for none, one or two phones. An alignment by expectation
maximisation says which; the rules then tell a letter's phones from its neighbours, the largest
known surroundings first. Rules that a smaller one implies are left out. Stress is not told.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from step_audio.dialog.speakable.pronunciation import STRESS, contexts

Chunk = str
_BEGIN = (
    "a=1A4OU b=B c=KSCX d=DTJ e=E6U5 f=F g=GJ7 h=H i=5I6U j=JY k=K l=L m=M n=N9 o=A0UO% p=P q=K "
    "r=R3 s=SZX7 t=TXC8Q u=U%#Y v=V w=W x=KZ y=65IY z=ZS"
)
_LIKELY = dict(pair.split("=") for pair in _BEGIN.split())
"""The symbols that each letter begins the alignment with."""
_SEEN_AT_LEAST = 2
_MOST = 2


def aligned(
    letters: str, symbols: str, weights: Mapping[tuple[str, Chunk], float]
) -> list[Chunk] | None:
    """Return the most likely chunk of symbols for each letter; None: too many symbols."""
    count = len(symbols)
    best = [[-math.inf] * (count + 1) for _ in range(len(letters) + 1)]
    came = [[0] * (count + 1) for _ in range(len(letters) + 1)]
    best[0][0] = 0.0
    for i, letter in enumerate(letters):
        for j in range(count + 1):
            if best[i][j] == -math.inf:
                continue
            for taken in range(min(_MOST, count - j) + 1):
                chunk = symbols[j : j + taken]
                score = best[i][j] + weights.get((letter, chunk), -12.0 - 2.0 * taken)
                if score > best[i + 1][j + taken]:
                    best[i + 1][j + taken], came[i + 1][j + taken] = score, taken
    if best[-1][count] == -math.inf:
        return None
    chunks, j = list[Chunk](), count
    for i in range(len(letters), 0, -1):
        taken = came[i][j]
        chunks.append(symbols[j - taken : j])
        j -= taken
    return chunks[::-1]


def learn_rules(entries: Mapping[str, str], rounds: int = 2) -> dict[str, str]:
    """Return rules for the words and symbols of a dictionary."""
    words = [(w, said.replace(STRESS, "")) for w, said in entries.items() if w.isalpha()]
    weights = {(letter, symbol): -1.0 for letter, many in _LIKELY.items() for symbol in many}
    weights |= {(letter, ""): -3.0 for letter in _LIKELY}
    pairs: list[tuple[str, list[Chunk]]] = []
    for _ in range(rounds):
        pairs = [(w, found) for w, s in words if (found := aligned(w, s, weights)) is not None]
        counts = Counter(pair for w, chunks in pairs for pair in zip(w, chunks, strict=True))
        totals = Counter[str]()
        for (letter, _chunk), number in counts.items():
            totals[letter] += number
        weights = {key: math.log(number / totals[key[0]]) for key, number in counts.items()}
    seen: defaultdict[str, Counter[Chunk]] = defaultdict(Counter)
    for word, chunks in pairs:
        for index, chunk in enumerate(chunks):
            for context in contexts(word, index):
                seen[context][chunk] += 1
    return _needed(seen, [w for w, _ in pairs])


def _needed(seen: Mapping[str, Counter[Chunk]], words: Sequence[str]) -> dict[str, str]:
    best = {c: counts.most_common(1)[0] for c, counts in seen.items()}
    rules: dict[str, str] = {}
    for word in words:
        for index in range(len(word)):
            implied: str | None = None
            for context in reversed(contexts(word, index)):  # the smallest first
                chunk, number = best[context]
                if implied is None or (number >= _SEEN_AT_LEAST and chunk != implied):
                    rules[context] = chunk
                if context in rules:
                    implied = rules[context]
    return rules
