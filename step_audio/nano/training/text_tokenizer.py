"""Train nano's text tokenizer: byte-level BPE, digits always alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS: Final = (
    "<pad>",
    "<s>",
    "<unk>",
    "<|EOT|>",
    "<|BOT|>",
    "<|heard|>",
    "<|/heard|>",
    "<|call|>",
    *(f"<|reserved_{n}|>" for n in range(8, 16)),
)
"""Ids 0..15; the first five are where the published models have them."""


def train_bpe(
    texts: Iterable[str], vocab_size: int, path: Path, specials: Sequence[str] = SPECIALS
) -> int:
    """Learn merges from texts and write a `tokenizer.json`.

    Ids: the specials, then the 256 bytes, then merges. A digit never merges, so that numbers
    are spelled the same way everywhere.

    Args:
        texts: read once.
        vocab_size: at most this many ids; few texts give fewer.
        path: file to write.

    Returns:
        The number of ids.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return int(tokenizer.get_vocab_size())
