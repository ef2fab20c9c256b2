"""Samples become the ids that serving builds, in any layout and rhythm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from step_audio.core.errors import InputError
from step_audio.core.ports import Stage, ToolSpec
from step_audio.core.types import Pcm, TokenGroup
from step_audio.core.vocab import PUBLISHED_CHAT, PUBLISHED_SPEECH, Vocab
from step_audio.data import filter as sieve
from step_audio.data.gates import ALL, with_bounds
from step_audio.data.pack import pack, read_samples, sample_turns, tokens
from step_audio.data.samples import TASKS, Sample
from step_audio.data.shards import TokenShards
from step_audio.data.tags import SPEEDS, Tags
from step_audio.data.write import PUBLISHED, write
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.prompt import (
    Audio,
    Call,
    Heard,
    PromptBuilder,
    Spoken,
    Text,
    Turn,
)
from step_audio.dialog.prompting.system_prompts import load_prompt
from tests.data.sounds import ASKED, PLAIN, RATE, gate
from tests.fakes import VOCAB, ByteTokenizer, CountingTokenizer, group


class _Broken:
    sample_rate_hz = RATE

    def open(self) -> Stage[Pcm, TokenGroup]:
        raise AssertionError("nothing is encoded twice")


def test_packed_ids_are_those_that_serving_builds(spoken: Path, tmp_path: Path) -> None:
    sieve.measure(spoken, gate)
    bounds = with_bounds(ALL, ["error_rate<=1"])
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    passed = sieve.accepted(spoken, bounds)
    groups = tokens(spoken, passed, CountingTokenizer, "fake")
    assert tokens(spoken, passed, _Broken, "fake") == groups  # read from disk
    samples = read_samples(spoken)
    counts = pack(samples, groups, builder, VOCAB, tmp_path / "pack")
    assert counts == dict.fromkeys(TASKS, 2)
    shards = TokenShards(tmp_path / "pack")
    by_id = {sample.id: sample for sample in samples}
    for index, (name, task) in enumerate(shards.rows()):
        ids, mask = shards[index]
        sample = by_id[name]
        wanted = builder.training_sequence(sample.resolve(groups), context=sample.context)
        assert (ids.tolist(), mask.tolist()) == wanted
        assert task == sample.task
    spoken_one = next(s for s in samples if s.task == "AQAA" and "call" not in str(s.turns))
    asked, said = spoken_one.lines()
    assert spoken_one.resolve(groups) == [
        Turn("system", (Text(load_prompt("answer")),)),
        Turn("human", (Audio(groups[asked]),)),
        Turn("assistant", (Heard("say hello"), Spoken("Hello there.", groups[said]))),
    ]


def test_published_models_get_their_tools_listed_and_their_calls_in_the_text(
    spoken: Path, tmp_path: Path
) -> None:
    vocab = Vocab(audio_base=VOCAB.audio_base)  # no markers of calls or transcripts
    builder = PromptBuilder.of_profile(
        ByteTokenizer(),
        vocab,
        dialect="json_schemas",
        result_role="input",
        chat_headers=PUBLISHED_CHAT,
        speech_headers=PUBLISHED_SPEECH,
    )
    tools = (ToolSpec("get_time", "Tell the time.", {"type": "object"}),)
    write(tmp_path / "set", [ASKED, PLAIN], ["TQTA", "TTS"], PUBLISHED)
    samples = [s for s in read_samples(tmp_path / "set") if s.task == "TQTA"]
    pack(samples, {}, builder, vocab, tmp_path / "pack", tools=tools)
    shards = TokenShards(tmp_path / "pack")
    at = next(n for n, s in enumerate(shards.rows()) if s[0] == samples[0].id)
    ids, mask = shards[at]
    # The same conversation as it serves: its tools, then the question.
    talk = Conversation()
    talk.add(Typed("u", "human", "what time is it"))
    window = ContextWindow(builder, vocab, max_ids=4000)
    served = window.prompt(talk, load_prompt("answer"), tools=tools).ids
    assert tuple(ids[: len(served)].tolist()) == served
    assert not mask[: len(served)].any()
    call = builder.content((Call("get_time", "{}"),))
    first = len(served)
    assert ids[first : first + len(call)].tolist() == call
    assert mask[first : first + len(call) + 1].all()


def test_what_a_vocabulary_has_no_marker_for_is_left_out_and_counted(
    spoken: Path, tmp_path: Path
) -> None:
    vocab = Vocab(audio_base=VOCAB.audio_base)
    samples = [s for s in read_samples(spoken) if s.task == "TQTA"]
    counts = pack(
        samples, {}, PromptBuilder(ByteTokenizer(), vocab), vocab, tmp_path / "pack", tasks=["TQTA"]
    )
    assert counts == {"TQTA": 1, "no marker": 1}
    facts = json.loads((tmp_path / "pack" / "pack.json").read_text())
    assert facts["left_out_because"] == {"no marker": 1}
    with pytest.raises(InputError, match=r"none of 2 samples .* 2 because their sound"):
        pack(
            [s for s in read_samples(spoken) if s.task == "ASR"],
            *({}, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, tmp_path / "none"),
        )
    with pytest.raises(InputError, match="data import"):
        pack([], {}, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, tmp_path / "none")


def test_a_sample_without_its_sound_is_left_out_and_counted(spoken: Path, tmp_path: Path) -> None:
    counts = pack(
        read_samples(spoken), {}, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, tmp_path / "pack"
    )
    assert counts == {"TQTA": 2, "sound missing": 10}
    assert json.loads((tmp_path / "pack" / "pack.json").read_text())["left_out"] == 10


@pytest.mark.parametrize(("text_run", "group_run"), [(10, 3), (5, 3), (10, 6)])
def test_the_rhythm_of_answers_can_be_another(text_run: int, group_run: int) -> None:
    builder = PromptBuilder(ByteTokenizer(), VOCAB, text_run=text_run, group_run=group_run)
    groups = tuple(group(n) for n in range(7))
    ids = builder.content((Spoken("a" * 22, groups),))
    runs = "".join("a" if VOCAB.is_audio(i) else "t" for i in ids)
    assert runs.startswith("t" * text_run + "a" * 5 * group_run + "t")


def test_the_published_layout_shows_an_example_first(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, replace(ASKED, tags=Tags(speed=5))], ["TTS"], PUBLISHED)
    first, second = read_samples(tmp_path)
    assert len(first.turns) == 3
    assert [role for role, _ in second.turns] == [
        *("system", "human", "assistant"),
        *("human", "assistant"),
    ]
    assert second.context == 3
    assert second.turns[3] == ["human", [{"text": "（快速2）It is noon."}]]


def test_tags_are_written_as_the_published_model_reads_them() -> None:
    assert [Tags(speed=level).prefix() for level in range(1, 6)] == [
        f"（{tag}）" if tag else "" for tag in SPEEDS
    ]
    assert Tags(emotion="happy", intensity=2, dialect="sichuan").prefix() == "（四川话，高兴2）"
    assert Tags(singing="rap").prefix() == "（RAP）"
    assert Tags.from_row(Tags(style="whisper", speed=2).row()) == Tags(style="whisper", speed=2)
    for bad in ({"speed": 6}, {"singing": "opera"}, {"style": "a（b"}, {"mood": "x"}):
        with pytest.raises(InputError):
            Tags.from_row(bad)


def test_samples_of_another_form_are_refused() -> None:
    for turns in ([["king", []]], [["human", [{"tune": "x"}]]], [["human", [{"text": 3}]]]):
        with pytest.raises(InputError):
            Sample("TQTA", turns).resolve({})
    with pytest.raises(InputError):
        Sample("XYZ", [])


def test_texts_to_read_are_written_as_serving_writes_them(tmp_path: Path) -> None:
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    groups = {"line": (group(1),)}
    read = Sample("TTS", [["human", [{"text": "a cat"}]], ["assistant", [{"audio": "line"}]]])
    asked = Sample("TQTA", [["human", [{"text": "a cat"}]], ["assistant", [{"text": "a cat"}]]])
    answer = Turn("assistant", (Audio(groups["line"]),))
    pack([read], groups, builder, VOCAB, tmp_path / "read", spell=str.upper)
    wanted, _ = builder.training_sequence([Turn("human", (Text("A CAT"),)), answer])
    assert TokenShards(tmp_path / "read")[0][0].tolist() == wanted
    pack([asked], groups, builder, VOCAB, tmp_path / "asked", spell=str.upper)
    wanted, _ = builder.training_sequence(asked.resolve(groups))
    assert TokenShards(tmp_path / "asked")[0][0].tolist() == wanted
    published = [["system", [{"tts": "a cat"}]], ["human", [{"text": "a cat"}]]]
    plain = Sample("TTS", [*published, ["assistant", [{"audio": "line"}]]], 2)
    shown, turns = sample_turns(plain, groups, builder, spell=str.upper)
    assert turns == shown.resolve(groups)
