"""Codes <-> token ids. The only place that does token arithmetic.

Layout: text ids, then `audio_base + linguistic`, then `audio_base + 1024 + semantic`.
A group is 2 linguistic then 3 semantic ids. Source: Step-Audio report, arXiv:2502.11946.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from step_audio.core.errors import TokenError
from step_audio.core.types import LINGUISTIC_PER_GROUP, SEMANTIC_PER_GROUP, TokenGroup

LINGUISTIC_SIZE = 1024
SEMANTIC_SIZE = 4096
AUDIO_SIZE = LINGUISTIC_SIZE + SEMANTIC_SIZE
GROUP_SIZE = LINGUISTIC_PER_GROUP + SEMANTIC_PER_GROUP

_AUDIO_TEXT = re.compile(r"<audio_(\d+)>")


@dataclass(frozen=True, slots=True)
class Vocab:
    """Trained facts of a checkpoint's vocabulary.

    Attributes:
        audio_base: id of linguistic code 0 (65536 in the published models).
        bos: begin of sequence.
        bot: begin of turn, `<|BOT|>`.
        eot: end of turn, `<|EOT|>`; also ends a generation.
        heard_open, heard_close: mark the transcript that a model writes before it answers a
            spoken question; None where the checkpoint was not trained to do so.
        call: opens a tool call, which runs to the end of the turn; None likewise.
        hears_semantic: spoken questions are shown with both codebooks; False: with the
            linguistic codes alone, two ids for 120 ms instead of five.
        eos: another id that ends a generation; None where `eot` alone does.
        audio_start, audio_end: stand around speech in some checkpoints' answers and mean nothing
            else; None where the text tokenizer has no such pieces.
    """

    audio_base: int = 65536
    bos: int = 1
    bot: int = 4
    eot: int = 3
    heard_open: int | None = None
    heard_close: int | None = None
    call: int | None = None
    hears_semantic: bool = True
    eos: int | None = None
    audio_start: int | None = None
    audio_end: int | None = None

    @property
    def size(self) -> int:
        """Number of ids, text and audio."""
        return self.audio_base + AUDIO_SIZE

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a generation."""
        return frozenset({self.eot} if self.eos is None else {self.eot, self.eos})

    @property
    def audio_markers(self) -> frozenset[int]:
        """Ids around speech that say nothing."""
        return frozenset(i for i in (self.audio_start, self.audio_end) if i is not None)

    def knows(self, token_id: int) -> bool:
        """True for an id that a model may write; markers may lie behind the audio ids."""
        return 0 <= token_id < self.size or token_id in self.audio_markers

    def is_audio(self, token_id: int) -> bool:
        """True for an id of either codebook."""
        return self.audio_base <= token_id < self.audio_base + AUDIO_SIZE

    def is_linguistic(self, token_id: int) -> bool:
        """True for an id of the linguistic codebook."""
        return self.audio_base <= token_id < self.audio_base + LINGUISTIC_SIZE

    def linguistic_id(self, code: int) -> int:
        """Return the id of a linguistic code in [0, 1024). Raises TokenError: outside."""
        if not 0 <= code < LINGUISTIC_SIZE:
            raise TokenError(f"linguistic code {code} is outside 0..{LINGUISTIC_SIZE - 1}")
        return self.audio_base + code

    def semantic_id(self, code: int) -> int:
        """Return the id of a semantic code in [0, 4096). Raises TokenError: outside."""
        if not 0 <= code < SEMANTIC_SIZE:
            raise TokenError(f"semantic code {code} is outside 0..{SEMANTIC_SIZE - 1}")
        return self.audio_base + LINGUISTIC_SIZE + code

    def group_ids(self, group: TokenGroup) -> tuple[int, ...]:
        """Return the 5 ids of a group, linguistic first."""
        return tuple(self.linguistic_id(c) for c in group.linguistic) + tuple(
            self.semantic_id(c) for c in group.semantic
        )

    def ids(self, groups: Iterable[TokenGroup]) -> list[int]:
        """Return the ids of all groups, in order."""
        return [token_id for group in groups for token_id in self.group_ids(group)]

    def question_ids(self, groups: Iterable[TokenGroup]) -> list[int]:
        """Return the ids by which a spoken question is shown to the LM."""
        if self.hears_semantic:
            return self.ids(groups)
        return [self.linguistic_id(code) for group in groups for code in group.linguistic]

    def group(self, ids: Sequence[int]) -> TokenGroup:
        """Return the group of 5 ids. Raises TokenError: not 2 linguistic then 3 semantic."""
        codes = [self.vocoder_code(i) for i in ids]
        first, rest = codes[:LINGUISTIC_PER_GROUP], codes[LINGUISTIC_PER_GROUP:]
        if (
            len(codes) != GROUP_SIZE
            or any(c >= LINGUISTIC_SIZE for c in first)
            or any(c < LINGUISTIC_SIZE for c in rest)
        ):
            raise TokenError(f"{list(ids)} is not 2 linguistic then 3 semantic ids")
        a, b, c = (code - LINGUISTIC_SIZE for code in rest)
        return TokenGroup((first[0], first[1]), (a, b, c))

    def vocoder_code(self, token_id: int) -> int:
        """Return `id - audio_base`, in [0, 5120): the index the vocoder embeds.

        Raises:
            TokenError: not an audio id.
        """
        if not self.is_audio(token_id):
            raise TokenError(f"id {token_id} is not an audio id")
        return token_id - self.audio_base


@dataclass(frozen=True, slots=True)
class HeaderIds:
    """How a checkpoint was shown the beginning of a prompt and of its turns; a trained fact.

    Attributes:
        bos: whether a prompt begins with `bos`.
        roles: "spaced": a role comes behind the dummy space that a sentencepiece model puts before
            a first word; "bare": without it; "bos": behind another `bos` and the space.
    """

    bos: bool
    roles: Literal["spaced", "bare", "bos"]


OWN_CHAT: Final = HeaderIds(bos=False, roles="spaced")
OWN_SPEECH: Final = HeaderIds(bos=True, roles="spaced")
"""Of models whose facts say nothing else, such as nano."""
PUBLISHED_CHAT: Final = HeaderIds(bos=True, roles="bare")
PUBLISHED_SPEECH: Final = HeaderIds(bos=True, roles="spaced")
"""The published chat script encodes a prompt as one text; newer TTS code has one `<s>`."""


def vocoder_codes(groups: Iterable[TokenGroup]) -> list[int]:
    """Return the vocoder's input, 5 indices a group in [0, 5120), linguistic first."""
    return Vocab(audio_base=0).ids(groups)


def to_text(ids: Iterable[int], vocab: Vocab) -> str:
    """Return audio ids as `<audio_N>`, N = id - audio_base, the form text-only servers show."""
    return "".join(f"<audio_{vocab.vocoder_code(i)}>" for i in ids)


def from_text(text: str, vocab: Vocab) -> list[int]:
    """Return the ids of all `<audio_N>` in a text, in order. Raises TokenError: N too large."""
    ids = [vocab.audio_base + int(n) for n in _AUDIO_TEXT.findall(text)]
    for token_id in ids:
        vocab.vocoder_code(token_id)
    return ids
