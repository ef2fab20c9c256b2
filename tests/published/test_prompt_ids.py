"""Ids of prompts in both published forms, with the ids that are known of the real tokenizer.

Recorded in public: `<s><|BOT|> assistant\\n<audio_1><|EOT|>` is 1, 4, 15886, 78, 65537, 3 (newest
template of the family, one `<s>`, roles behind the dummy space). Step-Audio's chat script encodes a
prompt as one text, so that `<s>` comes once and roles have no space; its TTS script encodes each
header alone, which with its tokenizer's usual settings puts another `<s>` into every header.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from step_audio.core.types import TokenGroup, Voice
from step_audio.core.vocab import HeaderIds, Vocab
from step_audio.core.weights import PUBLISHED, Facts, open_weights, record, write_facts
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.engine.text import load_text_tokenizer, with_markers
from tests.fakes import MemoryVoices
from tests.published.standins import ASSISTANT, AUDIO_END, AUDIO_START, NEWLINE, text_tokenizer

SOUND = (TokenGroup((1, 2), (0, 1, 2)),)
SOUND_IDS = [65537, 65538, 66560, 66561, 66562]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.model").write_bytes(text_tokenizer(markers=True))
    return folder


@pytest.fixture(scope="module")
def pieces(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def built(
    folder: Path, chat: HeaderIds, speech: HeaderIds = PUBLISHED.speech_headers
) -> PromptBuilder:
    return PromptBuilder(
        load_text_tokenizer(folder), Vocab(), chat_headers=chat, speech_headers=speech
    )


def test_the_known_ids_of_the_newest_template(folder: Path) -> None:
    spaced = HeaderIds(bos=True, roles="spaced")
    builder = built(folder, spaced)
    ids = [*builder.beginning, *builder.turn(Turn("assistant", (Audio(SOUND),)))]
    assert ids[:5] == [1, 4, ASSISTANT, NEWLINE, 65537]
    assert ids[-1] == 3


@pytest.mark.parametrize(
    ("headers", "human", "assistant"),
    [
        (HeaderIds(bos=True, roles="bare"), ["human"], ["assistant"]),
        (HeaderIds(bos=False, roles="bare"), ["human"], ["assistant"]),
        (HeaderIds(bos=True, roles="spaced"), ["\u2581human"], ["\u2581assistant"]),
    ],
)
def test_a_chat_prompt_in_each_form(
    folder: Path,
    pieces: sentencepiece.SentencePieceProcessor,
    headers: HeaderIds,
    human: list[str],
    assistant: list[str],
) -> None:
    ids = built(folder, headers).chat([Turn("human", (Audio(SOUND),))])
    spelled = [pieces.id_to_piece(token_id) for token_id in ids]
    begin = ["<s>"] if headers.bos else []
    sound = ["<audio_1>", "<audio_2>", "<audio_1024>", "<audio_1025>", "<audio_1026>"]
    question = ["<|BOT|>", *human, "<0x0A>", *sound, "<|EOT|>"]
    answer = ["<|BOT|>", *assistant, "<0x0A>"]
    joined = "".join([*begin, *question, *answer]).replace("\u2581", " ")
    assert "".join(spelled).replace("\u2581", " ") == joined
    assert spelled[: len(begin) + 1] == [*begin, "<|BOT|>"]
    assert spelled[len(begin) + 1 : len(begin) + 2] == human


def test_a_chat_prompt_is_what_one_encoding_of_the_whole_text_gives(
    folder: Path, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    """As the published chat script runs it: special tags split off, the rest encoded between."""
    ids = built(folder, PUBLISHED.chat_headers).chat(
        [Turn("system", (Text("你好"),)), Turn("human", (Text("hello"),))]
    )
    cut = len(pieces.encode("\n"))

    def between(text: str) -> list[int]:
        return list(pieces.encode("\n" + text)[cut:])

    assert ids == [
        *[1, 4, *between("system\n你好"), 3],
        *[4, *between("human\nhello"), 3],
        *[4, *between("assistant\n")],
    ]


@pytest.mark.parametrize(("roles", "again"), [("spaced", []), ("bos", [1])])
def test_a_tts_prompt_in_both_forms(
    folder: Path, pieces: sentencepiece.SentencePieceProcessor, roles: str, again: list[int]
) -> None:
    speech = HeaderIds(bos=True, roles="bos" if again else "spaced")
    builder = built(folder, PUBLISHED.chat_headers, speech)
    voice = Voice("a", MemoryVoices("a").get("a").embedding, "你好", SOUND)
    ids = builder.tts("hello", voice, speaker="Tingting")
    system = load_prompt("tts_named_voice").replace("{}", "Tingting")

    def header(role: str) -> list[int]:
        return [4, *again, *pieces.encode(f"{role}\n")]

    assert ids == [
        *[1, *header("system"), *builder.text(system), 3],
        *[*header("human"), *builder.text("你好"), 3],
        *[*header("assistant"), *SOUND_IDS, 3],
        *[*header("human"), *builder.text("hello"), 3],
        *header("assistant"),
    ]
    assert ids[: 3 + len(again)] == [1, 4, *again, pieces.piece_to_id("\u2581system")]


def test_markers_around_speech_are_found_by_name(folder: Path) -> None:
    vocab = with_markers(Vocab(), load_text_tokenizer(folder))
    assert (vocab.audio_start, vocab.audio_end) == (AUDIO_START, AUDIO_END)
    assert vocab.knows(AUDIO_END)
    assert not vocab.knows(AUDIO_END + 1)


def test_header_ids_are_kept_with_the_weights(tmp_path: Path) -> None:
    facts = Facts(
        Vocab(eos=2),
        32768,
        chat_headers=HeaderIds(bos=False, roles="bare"),
        speech_headers=HeaderIds(bos=True, roles="bos"),
        examples="reference",
    )
    write_facts(tmp_path, facts)
    record(tmp_path)
    assert open_weights(tmp_path, "").facts == facts
