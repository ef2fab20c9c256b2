"""Embedding table of the LM with what is known of the audio codes built in.

An audio row = a projection of the code's own vector (linguistic: its centroid; semantic: its
scalar digits, one-hot) + a free vector. Codes that sound alike start alike, on the input side and,
as the table is tied, in the output layer. After training the sum is an ordinary table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from step_audio.core.vocab import SEMANTIC_SIZE, Vocab


def semantic_digits(levels: tuple[int, ...]) -> Tensor:
    """Return one-hot digits of every semantic code, (4096, sum(levels))."""
    codes = torch.arange(SEMANTIC_SIZE)
    columns = []
    for level in levels:
        columns.append(nn.functional.one_hot(codes % level, level))
        codes = codes // level
    return torch.cat(columns, dim=1).float()


class StructuredEmbedding(nn.Module):
    """Builds the (V, H) table of a vocabulary."""

    known_linguistic: Tensor
    known_semantic: Tensor

    def __init__(
        self, vocab: Vocab, width: int, centroids: Tensor, levels: tuple[int, ...], std: float
    ) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.randn(vocab.size, width) * std)
        with torch.no_grad():
            self.free[vocab.audio_base :] *= 0.3
        scaled = (centroids - centroids.mean(0)) / centroids.std()
        self.register_buffer("known_linguistic", scaled)
        self.register_buffer("known_semantic", semantic_digits(levels))
        self.linguistic = nn.Linear(centroids.shape[1], width, bias=False)
        self.semantic = nn.Linear(self.known_semantic.shape[1], width, bias=False)
        nn.init.normal_(self.linguistic.weight, 0.0, std * centroids.shape[1] ** -0.5)
        nn.init.normal_(self.semantic.weight, 0.0, std * len(levels) ** -0.5)
        self.text_rows = vocab.audio_base

    @torch.no_grad()
    def begin(self, table: Tensor) -> None:
        """Start from a trained table (V, H): what is known of the codes explains what it can."""
        self.free.copy_(table)
        at = self.text_rows
        for known, part in (
            (self.known_linguistic, self.linguistic),
            (self.known_semantic, self.semantic),
        ):
            rows = table[at : at + len(known)]
            # Directions that the codes hardly have would need huge weights for nothing.
            solved = torch.linalg.lstsq(known, rows, rcond=1e-3, driver="gelsd")
            part.weight.copy_(solved.solution.T)
            self.free[at : at + len(known)] = rows - part(known)
            at += len(known)

    def table(self) -> Tensor:
        """Return the whole table, (V, H), differentiable."""
        known = torch.cat(
            [self.linguistic(self.known_linguistic), self.semantic(self.known_semantic)]
        )
        return torch.cat([self.free[: self.text_rows], self.free[self.text_rows :] + known])
