"""The text tokenizer of a weights folder as the library's own, with a piece for every audio id.

For tools that insist on text: GRPO's prompts, generation from a shell. Packs do not need it.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from step_audio.core.errors import InputError
from step_audio.core.vocab import AUDIO_SIZE, Vocab
from step_audio.engine.text import BPE_FILE


def load_tokenizer(folder: Path, vocab: Vocab) -> PreTrainedTokenizerFast:
    """Return the tokenizer; `<audio_0>` is id `vocab.audio_base`, and special pieces are read.

    Unlike in serving, `<|EOT|>` in a text ends a turn here: texts must come from packs.

    Raises:
        InputError: the folder has no `tokenizer.json`, or one whose ids are others.
    """
    if not (folder / BPE_FILE).is_file():
        raise InputError(f"{folder} has no {BPE_FILE}; AutoTokenizer reads sentencepiece folders")
    tokenizer = Tokenizer.from_file(str(folder / BPE_FILE))
    if tokenizer.get_vocab_size() > vocab.audio_base:
        raise InputError(f"{folder / BPE_FILE} has more pieces than ids below {vocab.audio_base}")
    # Ids between the text and the audio ids stand for nothing; each needs a piece to keep order.
    fill = vocab.audio_base - tokenizer.get_vocab_size()
    pieces = [f"<unused_{n}>" for n in range(fill)] + [f"<audio_{n}>" for n in range(AUDIO_SIZE)]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    if tokenizer.token_to_id("<audio_0>") != vocab.audio_base:
        raise InputError(f"{folder / BPE_FILE} already has audio pieces of other ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokenizer.id_to_token(vocab.bos),
        eos_token=tokenizer.id_to_token(vocab.eot),
        pad_token=tokenizer.id_to_token(0),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
