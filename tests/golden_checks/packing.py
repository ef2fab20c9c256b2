"""`token_packing/`: rate, level, trimming, groups and ids, prompt layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from step_audio.core.audio import read_audio
from step_audio.core.types import Role, TokenGroup, Voice
from step_audio.core.vocab import Vocab, from_text, to_text
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tts_prompts import leading_tag
from step_audio.dialog.response.parser import TokenParser
from tests.fakes import DUMMY_PREFIX, ByteTokenizer, numbered
from tests.golden_checks.component import Component, Errors, arrays, differing, facts, gap
from tokenizer.grouping import interleave
from tokenizer.preprocess import normalise_level, resample, sounding_span, trim_silence

VOCAB = Vocab()
PROMPTS = {
    "sys_prompt_for_rap": "tts_rap",
    "sys_prompt_for_vocal": "tts_humming",
    "sys_prompt_wo_spk": "tts_any_voice",
    "sys_prompt_with_spk": "tts_named_voice",
}
ROLES: dict[str, Role] = {
    "user": "human",
    "human": "human",
    "tool": "tool",
    "system": "system",
    "assistant": "assistant",
}


def _sounds(folder: Path) -> dict[str, Any]:
    return arrays(folder / "token_packing" / "preprocess.safetensors")


def _clips(folder: Path) -> dict[str, Any]:
    clips: dict[str, Any] = facts(folder / "token_packing" / "preprocess_meta.json")["clips"]
    return clips


def _resampled(folder: Path) -> Errors:
    for clip in facts(folder / "audio" / "meta.json"):
        pcm, rate_hz = read_audio(folder / "audio" / f"{clip}.wav")
        yield clip, gap(resample(pcm, rate_hz), _sounds(folder)[f"{clip}.resampled16k"])


def _levels(folder: Path) -> Errors:
    for clip in _clips(folder):
        source = "in" if clip.startswith("syn.") else "resampled16k"
        levelled = normalise_level(_sounds(folder)[f"{clip}.{source}"].numpy())
        yield clip, gap(levelled, _sounds(folder)[f"{clip}.energy_norm"])


def _trimmed(folder: Path) -> Errors:
    for clip in _clips(folder):
        levelled = _sounds(folder)[f"{clip}.energy_norm"].numpy()
        yield clip, gap(trim_silence(levelled), _sounds(folder)[f"{clip}.trimmed"])


def _spans(folder: Path) -> Errors:
    for clip, meta in _clips(folder).items():
        levelled = _sounds(folder)[f"{clip}.energy_norm"].numpy()
        yield clip, differing(sounding_span(levelled), meta["librosa_trim_index"])


def _ids(folder: Path) -> Errors:
    for at, case in enumerate(facts(folder / "token_packing" / "interleave.json")["cases"]):
        groups = interleave(case["vq02"], case["vq06"])
        ids, wanted = VOCAB.ids(groups), case["wav2token_ids"]
        parser = TokenParser(ByteTokenizer(), VOCAB, numbered("call_"))
        parsed = [event for token_id in ids for event in parser.push(token_id)]
        text = case["token_string"]
        vocoder_ids = [VOCAB.vocoder_code(i) for i in ids]
        yield (
            f"case {at}",
            (
                differing(ids, wanted)
                + differing(from_text(text, VOCAB), wanted)
                + differing(to_text(ids, VOCAB), text)
                + differing(vocoder_ids, case["vocoder_ids"])
                + differing(parsed, groups)
            ),
        )


def shown(ids: list[int], vocab: Vocab) -> str:
    """Return prompt ids in the text form of the recorded layouts."""
    out = b""
    for i in ids:
        if vocab.is_audio(i):
            out += f"<audio_{i - vocab.audio_base}>".encode()
        elif i in (vocab.bot, vocab.eot):
            out += b"<|BOT|>" if i == vocab.bot else b"<|EOT|>"
        elif i != DUMMY_PREFIX:
            out += bytes([i - 300])
    return out.decode()


def _turn(message: dict[str, Any]) -> Turn:
    content = message["content"]
    if isinstance(content, dict):
        content = content.get("text")
    return Turn(ROLES[message["role"]], (Text(content),))


def _chat(folder: Path) -> Errors:
    # The recorded stub shows one audio as 3 ids, which is no whole group; a group stands in.
    stub, whole = "<audio_1><audio_2><audio_1027>", (TokenGroup((1, 2), (3, 4, 5)),)
    for at, case in enumerate(facts(folder / "token_packing" / "chat_template.json")["cases"]):
        turns = [
            Turn("human", (Audio(whole),)) if "audio" in str(m["content"]) else _turn(m)
            # An assistant message without content asks for the answer: that is the last header.
            for m in case["messages"]
            if m["content"] is not None
        ]
        ids = PromptBuilder(ByteTokenizer(), VOCAB).chat(turns)
        wanted = case["text"].replace(stub, stub + "<audio_1028><audio_1029>")
        yield f"case {at}", differing(shown(ids, VOCAB), wanted)


def _tts(folder: Path) -> Errors:
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    for at, case in enumerate(facts(folder / "token_packing" / "tts_prompt_layout.json")["cases"]):
        code = case["prompt_code"]
        voice = Voice(
            name="any",
            embedding=np.zeros(192, dtype=np.float32),
            prompt_text=case["prompt_text"],
            prompt_groups=tuple(VOCAB.group(code[i : i + 5]) for i in range(0, len(code), 5)),
        )
        ids = builder.tts(case["text"], voice, speaker=case["speaker"])
        yield f"case {at}", differing(ids, case["ids"])


def _tags(folder: Path) -> Errors:
    for case in facts(folder / "token_packing" / "instruction_detection.json")["cases"]:
        yield repr(case["text"]), differing([leading_tag(case["text"])], [case["instruction"]])


def _prompts(folder: Path) -> Errors:
    kept = facts(folder / "token_packing" / "system_prompts.json")["prompts"]
    for theirs, ours in PROMPTS.items():
        yield theirs, differing(load_prompt(ours), kept[theirs])


COMPONENTS = (
    Component("packing: resampling", 1e-5, _resampled),
    Component("packing: level", 1e-5, _levels),
    Component("packing: span with sound", 0, _spans),
    Component("packing: trimming", 1e-5, _trimmed),
    Component("packing: groups, ids and their text", 0, _ids),
    Component("packing: chat layout", 0, _chat),
    Component("packing: TTS layout", 0, _tts),
    Component("packing: instruction tags", 0, _tags),
    Component("packing: system prompts", 0, _prompts),
)
