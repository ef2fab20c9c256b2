"""Text to ids and back, as the LM was trained: byte-level BPE, or the published sentencepiece.

Text comes from users: nothing in it may turn into a special id, whatever it looks like.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from step_audio.core.errors import TokenError, WeightsError
from step_audio.core.ports import Stage, TextTokenizer
from step_audio.core.vocab import Vocab

BPE_FILE = "tokenizer.json"
SENTENCEPIECE_FILE = "tokenizer.model"
_SPACE = "\u2581"
_TAG = re.compile(r"<[^<>\s]{1,40}>")


def load_text_tokenizer(folder: Path) -> TextTokenizer:
    """Return the text tokenizer of a weights folder, by the file that is there.

    Raises:
        WeightsError: none of the two files, or one that cannot be used.
    """
    if (folder / BPE_FILE).is_file():
        return BpeTextTokenizer(folder / BPE_FILE)
    if (folder / SENTENCEPIECE_FILE).is_file():
        return SentencePieceTextTokenizer(folder / SENTENCEPIECE_FILE)
    raise WeightsError(f"no {BPE_FILE} or {SENTENCEPIECE_FILE} in {folder}")


def hash_of_text_tokenizer(folder: Path) -> str:
    """Return the SHA-256 of the file that `load_text_tokenizer` reads, "" where there is none."""
    for name in (BPE_FILE, SENTENCEPIECE_FILE):
        if (folder / name).is_file():
            return hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return ""


def with_markers(vocab: Vocab, tokenizer: TextTokenizer) -> Vocab:
    """Return a vocabulary with the ids of what stands around speech, found by name."""
    if not isinstance(tokenizer, SentencePieceTextTokenizer):
        return vocab
    return replace(
        vocab,
        audio_start=vocab.audio_start or tokenizer.id_of("<audio_start>"),
        audio_end=vocab.audio_end or tokenizer.id_of("<audio_end>"),
    )


class BpeTextTokenizer:
    """Byte-level BPE from a `tokenizer.json`, as `nano.training.text_tokenizer` writes it."""

    def __init__(self, path: Path) -> None:
        """Load. Raises WeightsError: unreadable, or not byte-level."""
        try:
            self._tokenizer = Tokenizer.from_str(_tags_special(path.read_text(encoding="utf-8")))
        except Exception as error:  # the library raises bare Exception
            raise WeightsError(f"{path.name}: not a usable tokenizer file: {error}") from None
        # "<|EOT|>" in a text is eight characters, never the end of a turn.
        self._tokenizer.encode_special_tokens = True
        special = {
            i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        }
        alphabet = {char: byte for byte, char in byte_alphabet().items()}
        self._bytes: dict[int, bytes] = {}
        for token, token_id in self._tokenizer.get_vocab().items():
            try:
                spelled = b"" if token_id in special else bytes(alphabet[c] for c in token)
            except KeyError:
                raise WeightsError(f"{path.name}: {token!r} is not a byte-level token") from None
            self._bytes[token_id] = spelled

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; half of a surrogate pair becomes a question mark."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return ids

    def open_decoder(self) -> Stage[int, str]:
        """Return a fresh decoder; special ids are silent."""
        return Utf8Decoder(self._bytes)


class SentencePieceTextTokenizer:
    """The published `tokenizer.model`; needs the `sentencepiece` package.

    `encode` keeps the model's dummy space before the first word, as the published code does.
    """

    def __init__(self, path: Path) -> None:
        """Load. Raises WeightsError: unreadable, or the package is missing."""
        try:
            import sentencepiece  # noqa: PLC0415 - only published checkpoints need it
        except ImportError:
            raise WeightsError(
                f"{path.name} needs the package sentencepiece: pip install 'step-audio[published]'"
            ) from None
        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"{path.name}: not a sentencepiece model: {error}") from None
        model = self._model
        self._bytes: dict[int, bytes] = {}
        self._newline: list[int] = model.encode("\n")
        self._plain: dict[int, list[int]] = {}  # ids of tags -> ids of the same characters
        for token_id in range(model.get_piece_size()):
            piece = model.id_to_piece(token_id)
            self._bytes[token_id] = _spelled(model, token_id, piece)
            if _TAG.fullmatch(piece) and not model.is_byte(token_id):
                # Cut behind "<": neither half can match the tag.
                self._plain[token_id] = [*self._inside(piece[0]), *self._inside(piece[1:])]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; tags like `<audio_1>` in it stay plain characters.

        Tags are found among the ids: what the model's own normalisation makes of a text, such as
        of full-width brackets, can be a tag that was not in the text.
        """
        clean = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self._model.encode(clean)
        return [plain for token_id in ids for plain in self._plain.get(token_id, (token_id,))]

    def id_of(self, piece: str) -> int | None:
        """Return the id of a piece by its exact name, None when the model has none."""
        token_id: int = self._model.piece_to_id(piece)
        return None if self._model.is_unknown(token_id) else token_id

    def _inside(self, text: str) -> list[int]:
        """Return the ids of a text that is not at the beginning, where a dummy space would be."""
        ids: list[int] = self._model.encode("\n" + text)
        return ids[len(self._newline) :]

    def open_decoder(self) -> Stage[int, str]:
        """Return a fresh decoder; control ids are silent, the dummy space is kept."""
        return Utf8Decoder(self._bytes)


class Utf8Decoder:
    """Ids to text: bytes wait until they form whole characters."""

    def __init__(self, spelled: Mapping[int, bytes]) -> None:
        """Start a stream; `spelled` gives the bytes of every id."""
        self._spelled = spelled
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int, /) -> tuple[str, ...]:
        """Return what became readable. Raises TokenError: not a text id."""
        if token_id not in self._spelled:
            raise TokenError(f"id {token_id} is not a text id")
        text = self._decoder.decode(self._spelled[token_id])
        return (text,) if text else ()

    def flush(self) -> tuple[str, ...]:
        """Return a replacement character for an unfinished one, if any."""
        text = self._decoder.decode(b"", final=True)
        return (text,) if text else ()


def _tags_special(content: str) -> str:
    """Return a `tokenizer.json` in which every added token that looks like a tag is special.

    Only special tokens can be told to stay text when somebody types them.
    """
    data = json.loads(content)
    for token in data.get("added_tokens") or ():
        token["special"] = token["special"] or bool(_TAG.fullmatch(token["content"]))
    return json.dumps(data)


def byte_alphabet() -> dict[int, str]:
    """Return the printable character that stands for each byte in a byte-level vocabulary.

    Printable Latin-1 bytes stand for themselves; the others, in order, for U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + n) for n, b in enumerate(others)}


def _spelled(model: Any, token_id: int, piece: str) -> bytes:
    """Return the bytes that a sentencepiece id stands for."""
    if model.is_control(token_id) or model.is_unknown(token_id) or model.is_unused(token_id):
        return b""
    if model.is_byte(token_id):
        return bytes([int(piece[3:-1], 16)])  # "<0x0A>"
    return piece.replace(_SPACE, " ").encode("utf-8")
