"""The semantic tokenizer: 16 kHz sound to 4096 codes at 25 Hz, by a published ONNX graph.

The graph sees a log-mel and looks both ways, so a stream runs it on windows with context on both
sides. Which samples a window holds is decided by their number alone.
Source: CosyVoice `speech_tokenizer_v1`, arXiv:2407.05407; Step-Audio report, arXiv:2502.11946.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm
from step_audio.core.vocab import SEMANTIC_SIZE
from tokenizer.features import LOG_MEL_BANDS, SILENT, log_mel
from tokenizer.graph import Graph

TOKEN_SAMPLES: Final = 640
FRAMES_PER_TOKEN: Final = 4
MAX_SAMPLES: Final = 480_000
"""30 s: the graph's position table ends there."""
MIN_SAMPLES: Final = 480

_INPUTS = (("tensor(float)", (1, LOG_MEL_BANDS, None)), ("tensor(int32)", (1,)))


@dataclass(frozen=True, slots=True)
class SemanticWindows:
    """How a stream is cut, in tokens of 40 ms. A fact of the LM that was trained on the result.

    Attributes:
        new: tokens a window adds; they come `new + right` tokens after their first sample.
        left: context before them, at least 1.
        right: context after them. At the end of the stream there is none to wait for.
    """

    new: int = 6
    left: int = 28
    right: int = 6

    def __post_init__(self) -> None:
        total = self.new + self.left + self.right
        if self.new < 1 or self.left < 1 or self.right < 0 or total * TOKEN_SAMPLES > MAX_SAMPLES:
            raise ShapeError(f"{self}: needs new and left >= 1, right >= 0, 30 s at most in all")


class SemanticTokenizer:
    """Shared and immutable; `open` starts a stream.

    Raises:
        WeightsError: the file is missing or not such a graph.
    """

    def __init__(
        self, path: Path, windows: SemanticWindows | None = None, threads: int = 1
    ) -> None:
        self.windows = windows or SemanticWindows()
        self._graph = Graph(path, _INPUTS, threads)
        self._path = path

    def __deepcopy__(self, memo: dict[int, object]) -> SemanticTokenizer:
        """Return itself: a copied stream shares its model."""
        return self

    def open(self) -> Stage[Pcm, int]:
        """Return a stream of its own state."""
        return _SemanticStream(self)

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        """Return the codes of a whole clip as the reference does.

        Each 30 s are seen apart; a piece of less than 30 ms makes no code.
        """
        pieces = [pcm[at : at + MAX_SAMPLES] for at in range(0, len(pcm), MAX_SAMPLES)]
        codes = [self.window_codes(p) for p in pieces if len(p) >= MIN_SAMPLES]
        return np.concatenate(codes) if codes else np.zeros(0, dtype=np.int64)

    def window_codes(self, pcm: Pcm) -> NDArray[np.int64]:
        """Run the graph once: 201..480000 samples to ceil(frames / 4) codes.

        Raises:
            WeightsError: the graph returned another number of codes, or one outside 0..4095.
        """
        return self.codes_of(log_mel(pcm), len(pcm))

    def codes_of(self, mel: NDArray[np.float32], samples: int) -> NDArray[np.int64]:
        """Return the codes of the log-mel, (128, frames), of so many samples; raises the same."""
        frames = mel.shape[1]
        codes = self._graph.run(mel[None], np.array([frames], dtype=np.int32))
        if len(codes) != token_count(samples) or codes.dtype.kind not in "iu":
            raise WeightsError(
                f"{self._path} made {len(codes)} {codes.dtype} of {frames} frames, "
                f"expected {token_count(samples)} integers"
            )
        if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < SEMANTIC_SIZE:
            raise WeightsError(f"{self._path} made codes outside 0..{SEMANTIC_SIZE - 1}")
        return codes.astype(np.int64)


def token_count(samples: int) -> int:
    """Return how many tokens so many samples make: one for 4 frames of 10 ms, rounded up."""
    return -(-(samples // 160) // FRAMES_PER_TOKEN)


class _SemanticStream:
    """Stage[Pcm, int] of one stream; keeps one window of samples."""

    def __init__(self, shared: SemanticTokenizer) -> None:
        self._shared = shared
        self._windows = shared.windows
        # `_kept` starts at token `_first`; `_sent` tokens were returned.
        self._kept: Pcm = np.zeros(0, dtype=np.float32)
        self._first = 0
        self._sent = 0
        # A whole clip's range reaches down from its loudest frame, wherever that is.
        self._loudest = SILENT

    def push(self, pcm: Pcm, /) -> Iterable[int]:
        """Take 16 kHz samples and return the codes of each window that is full."""
        self._kept = np.concatenate((self._kept, pcm))
        ahead = self._windows.new + self._windows.right
        codes: list[int] = []
        while len(self._kept) >= (self._sent - self._first + ahead) * TOKEN_SAMPLES:
            end = self._sent - self._first + ahead
            seen = self._codes(self._kept[: end * TOKEN_SAMPLES])
            codes += self._advance(seen, self._windows.new)
        return codes

    def flush(self) -> Iterable[int]:
        """Return the codes of the rest, from one last window."""
        if len(self._kept) < MIN_SAMPLES:
            return ()
        rest = self._first + token_count(len(self._kept)) - self._sent
        return self._advance(self._codes(self._kept), rest) if rest else ()

    def _codes(self, window: Pcm) -> NDArray[np.int64]:
        mel = log_mel(window, self._loudest)
        self._loudest = max(self._loudest, float(mel.max(initial=SILENT)))
        return self._shared.codes_of(mel, len(window))

    def _advance(self, seen: NDArray[np.int64], count: int) -> list[int]:
        """Return `count` codes after those sent; forget the samples that no window needs."""
        at = self._sent - self._first
        self._sent += count
        first = max(0, self._sent - self._windows.left)
        self._kept = self._kept[(first - self._first) * TOKEN_SAMPLES :]
        self._first = first
        codes: list[int] = seen[at : at + count].tolist()
        return codes
