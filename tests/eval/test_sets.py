"""Every loader on a stand-in of the published layout, with broken rows."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.cli.evaluation_arguments import SETS as NAMED
from step_audio.core.audio import wav_bytes
from step_audio.core.encoding import format_named, open_encoder
from step_audio.core.errors import AudioError, InputError
from step_audio.core.types import Pcm
from step_audio.eval.sets.catalogue import SETS, load_set, sets_in
from step_audio.eval.sets.files import SetFiles
from step_audio.eval.sets.items import Item, LoadedSet, RecordingMissing

RATE = 16_000


def tone(hertz: float = 300.0) -> Pcm:
    t = np.arange(RATE // 4) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def encode(pcm: Pcm, rate_hz: int, name: str) -> bytes:
    stage = open_encoder(format_named(name), rate_hz)
    return b"".join((*stage.push(pcm), *stage.flush()))


WAV = wav_bytes(tone(), RATE)


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def table(*rows: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def parquet(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    """Write a table as the hub does: sounds are {bytes, path} in it, several row groups."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `eval`")
    from pyarrow import parquet as writer  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_table(pyarrow.table(columns), path, row_group_size=2)


def sound(data: bytes | None = WAV) -> dict[str, Any]:
    return {"bytes": data, "path": "x.wav"}


def loaded(name: str, folder: Path) -> tuple[LoadedSet, SetFiles]:
    files = SetFiles(folder)
    return load_set(name, files), files


def heard(item: Item) -> int:
    spoken = item.turns[-1].sound
    assert spoken is not None
    pcm, rate_hz = spoken.read()
    return round(1000 * len(pcm) / rate_hz)


def missing(item: Item) -> str:
    spoken = item.turns[-1].sound
    assert spoken is not None
    with pytest.raises(RecordingMissing, match="fetch its sounds") as error:
        spoken.read()
    return str(error.value)


def stepeval(folder: Path, columns: Callable[[str, str, Any], dict[str, Any]]) -> None:
    turns = [
        {"role": "user", "text": "a", "audio_filename": "one.wav"},
        {"role": "assistant", "text": "b", "audio_filename": None},
        {"role": "user", "text": "c", "audio_filename": "deep/two.wav"},
    ]
    lost = [{"role": "user", "text": "d", "audio_filename": "gone.wav"}]
    rows = [columns("1", "Gaming", turns), columns("2", "Sing", lost), columns("3", "Sing", [])]
    put(folder / "data" / "test.jsonl", lines(*rows, "not json", columns("4", "Sing", [1])))


def test_stepeval_360_with_its_recordings_in_the_archive(tmp_path: Path) -> None:
    stepeval(tmp_path, lambda i, c, t: {"conversation_id": i, "category": c, "conversation": t})
    with tarfile.open(tmp_path / "audios.tar.gz", "w:gz") as archive:
        for name in ("audios/one.wav", "audios/deep/two.wav"):
            info = tarfile.TarInfo(name)
            info.size = len(WAV)
            archive.addfile(info, io.BytesIO(WAV))
    found, files = loaded("stepeval-360", tmp_path)
    with files:
        one, two = found.items
        assert (one.id, one.category, [turn.text for turn in one.turns]) == (
            "1",
            "Gaming",
            ["a", "c"],
        )
        assert heard(one) == 250
        assert "gone.wav" in missing(two)
    assert [row.split(": ")[1] for row in found.broken] == [
        "not a JSON object",
        "no turns",
        "a turn is int, not an object",
    ]


def test_recordings_of_equal_name_are_not_mixed_up(tmp_path: Path) -> None:
    short = WAV[: len(WAV) // 2]
    for folder, content in (("c1", WAV), ("c2", short), ("twin", WAV)):
        put(tmp_path / "audios" / folder / "turn_1.wav", content)
    put(tmp_path / "audios" / "c1" / "alike.wav", WAV)
    put(tmp_path / "audios" / "c2" / "alike.wav", WAV)
    with SetFiles(tmp_path) as files:
        assert files.sound("c1/turn_1.wav", "data/test.jsonl").fetch() == WAV
        assert files.sound("c2/turn_1.wav", "data/test.jsonl").fetch() == short
        assert files.sound("alike.wav", "data/test.jsonl").fetch() == WAV
        with pytest.raises(RecordingMissing, match="fits several recordings"):
            files.sound("turn_1.wav", "data/test.jsonl").fetch()


def test_stepeval_360_as_parquet_in_another_ones_words(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a", "audio": "one.wav"}]
    parquet(
        tmp_path / "data" / "test-00000-of-00001.parquet",
        {"id": ["7"], "task": ["Creativity"], "messages": [json.dumps(turns)]},
    )
    put(tmp_path / "audios" / "one.wav", WAV)
    found, files = loaded("stepeval-360", tmp_path)
    with files:
        (item,) = found.items
        assert (item.id, item.category, heard(item)) == ("7", "Creativity", 250)


def test_an_unknown_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    put(tmp_path / "data" / "x.jsonl", lines({"kind": "a", "conversation": [{"role": "user"}]}))
    with pytest.raises(InputError, match=r"no column for category .* among kind, conversation"):
        loaded("stepeval-360", tmp_path)


def test_paralinguistic_by_subset_folders(tmp_path: Path) -> None:
    parquet(
        tmp_path / "gender" / "test-00000-of-00001.parquet",
        {
            "audio": [sound(), sound(None), sound()],
            "task_name": ["识别说话人性别"] * 3,
            "task_answer": ["女", "男", ""],
        },
    )
    found, files = loaded("stepeval-paralinguistic", tmp_path)
    with files:
        one, two = found.items
        assert (one.category, one.reference, one.language) == ("识别说话人性别", ("女",), "zh")
        assert heard(one) == 250
        missing(two)
    assert found.broken == ["gender/test-00000-of-00001.parquet, row 2: task_answer is empty"]


def test_toolcall_tells_positive_from_negative_and_finds_arguments(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hm", "audio": "a.wav"}]
    call = [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]
    put(
        tmp_path / "get_weather_positive.jsonl",
        lines({"conversation": said, "tool_calls": call}, {"conversation": "nope"}),
    )
    put(tmp_path / "web_search_negative.jsonl", lines({"conversation": said}))
    with tarfile.open(tmp_path / "wav.tar", "w") as archive:
        info = tarfile.TarInfo("wav/a.wav")
        info.size = len(WAV)
        archive.addfile(info, io.BytesIO(WAV))
    found, files = loaded("stepeval-toolcall", tmp_path)
    with files:
        positive, negative = found.items
        assert positive.facts == {"tool": "get_weather", "arguments": '{"city": "Paris"}'}
        assert negative.facts == {"tool": "", "arguments": ""}
        assert heard(positive) == heard(negative) == 250
    assert len(found.broken) == 1


@pytest.mark.parametrize(
    ("name", "head", "answer", "wanted"),
    [
        ("llama-questions", ("Questions", "Answer"), "Paris", ("Paris",)),
        ("web-questions", ("question", "answers"), "['Paris', 'Lutetia']", ("Paris", "Lutetia")),
        (
            "trivia-qa",
            ("question", "answer_normalized_aliases"),
            '["paris", "city of light"]',
            ("paris", "city of light"),
        ),
        ("reasoning-qa", ("Prompt", "参考答案"), "三", ("三",)),
        ("alpaca-eval", ("instruction", "output"), "Well.", ("Well.",)),
    ],
)
def test_open_audio_bench(
    tmp_path: Path, name: str, head: tuple[str, str], answer: str, wanted: tuple[str, ...]
) -> None:
    """csv of OpenAudioBench beside mp3s, another set's folder beside it."""
    subset = name.replace("-", "_")
    base = tmp_path / "eval_datas" / subset
    rows = [("q1", answer, "1.mp3"), ("q2", "", "2.mp3"), ("q3", answer, "gone.mp3")]
    put(base / f"{subset}.csv", table((*head, "audio_filename"), *rows, ("short",)))
    put(base / "audios" / "1.mp3", encode(tone(), RATE, "mp3"))
    put(tmp_path / "eval_datas" / "other" / "other.csv", table(("a", "b"), ("1", "2")))
    found, files = loaded(name, tmp_path)
    with files:
        one, lost = found.items
        assert (one.turns[0].text, one.reference) == ("q1", wanted)
        assert 200 < heard(one) < 400  # mp3 pads
        assert "gone.mp3" in missing(lost)
    assert len(found.broken) == 2
    assert "not as many cells as columns" in found.broken[0]


def test_llama_questions_of_the_hub_reads_sounds_group_by_group(tmp_path: Path) -> None:
    sounds = [sound(wav_bytes(tone()[: RATE // 10 * n], RATE)) for n in (1, 2, 1, 2, 1)]
    parquet(
        tmp_path / "data" / "test-00000-of-00001.parquet",
        {"question": list("abcde"), "answer": list("vwxyz"), "audio": sounds},
    )
    found, files = loaded("llama-questions", tmp_path)
    with files:
        assert [heard(item) for item in found.items] == [100, 200, 100, 200, 100]
        assert [item.reference for item in found.items] == [(c,) for c in "vwxyz"]


def test_a_parquet_without_the_column_says_what_it_has(tmp_path: Path) -> None:
    parquet(tmp_path / "x.parquet", {"q": ["a"], "answer": ["b"], "audio": [sound()]})
    with pytest.raises(InputError, match=r"the question .*among q, answer, audio"):
        loaded("llama-questions", tmp_path)
    put(tmp_path / "x.parquet", b"PAR1 no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        loaded("llama-questions", tmp_path)


def test_voicebench_by_configuration_and_split(tmp_path: Path) -> None:
    parquet(
        tmp_path / "sd-qa" / "usa-00000-of-00001.parquet",
        {"prompt": ["p", "q"], "audio": [sound(), sound()], "reference": ["r", None]},
    )
    parquet(
        tmp_path / "mmsu" / "law-00000-of-00001.parquet",
        {"prompt": ["p"], "audio": [sound()], "reference": ["B"]},
    )
    parquet(
        tmp_path / "ifeval" / "test-00000-of-00001.parquet",
        {"prompt": ["p"], "audio": [sound()], "key": [1], "instruction_id_list": [["a:b"]]},
    )
    found, files = loaded("voicebench", tmp_path)
    with files:
        assert [(i.category, i.scoring) for i in found.items] == [
            ("ifeval", "ifeval"),
            ("mmsu", "choice"),
            ("sd-qa usa", "yesno"),
        ]
        assert heard(found.items[0]) == 250
    assert found.broken == ["sd-qa/usa-00000-of-00001.parquet, row 1: no reference"]


def test_uro_bench_straight_from_its_zip(tmp_path: Path) -> None:
    rounds = [
        {"round": 1, "source_wav": "wav/1.wav", "source_text": "hi"},
        {"round": 2, "source_wav": "wav/2.wav", "source_text": "and?", "target_text": "yes"},
    ]
    with zipfile.ZipFile(tmp_path / "URO-Bench-mini.zip", "w") as archive:
        single = lines(
            {"source_wav": "wav/1.wav", "source_text": "你好", "target_text": ["好", "很好"]},
            {"source_wav": "wav/gone.wav", "source_text": "说话"},
            {"source_wav": None, "source_text": "没有"},
        )
        archive.writestr("mini/HSK5-zh/test.jsonl", single)
        archive.writestr("mini/MtBench/test.jsonl", lines({"id": "m", "dialogue": rounds}))
        for folder in ("HSK5-zh", "MtBench"):
            archive.writestr(f"mini/{folder}/wav/1.wav", WAV)
            archive.writestr(f"mini/{folder}/wav/2.wav", wav_bytes(tone()[:1600], RATE))
    found, files = loaded("uro-bench", tmp_path)
    with files:
        qa, lost, multi = found.items
        assert (qa.category, qa.scoring, qa.language) == ("HSK5-zh", "uro_answer", "zh")
        assert qa.reference == ("好", "很好")
        assert (lost.scoring, multi.language, len(multi.turns)) == ("uro_open", "en", 2)
        assert heard(qa) == 250
        assert heard(multi) == 100
        missing(lost)
    assert len(found.broken) == 1


def test_big_bench_audio(tmp_path: Path) -> None:
    rows = [
        {"id": 3, "category": "navigate", "official_answer": "Yes", "file_name": "data/q_0.mp3"},
        {"id": 4, "category": "navigate", "official_answer": None, "file_name": "data/q_1.mp3"},
    ]
    put(tmp_path / "metadata.jsonl", lines(*rows))
    put(tmp_path / "data" / "q_0.mp3", encode(tone(), RATE, "mp3"))
    found, files = loaded("big-bench-audio", tmp_path)
    with files:
        (item,) = found.items
        assert (item.id, item.reference, item.scoring) == ("3", ("Yes",), "closed")
        assert heard(item) > 200
    assert found.broken == ["metadata.jsonl, line 2: official_answer is empty"]


@pytest.mark.parametrize("packed", [True, False])
def test_librispeech_unpacked_or_not(tmp_path: Path, packed: bool) -> None:
    root = tmp_path / "source" / "LibriSpeech" / "test-clean" / "61" / "70968"
    put(root / "61-70968.trans.txt", "61-70968-0000 HE BEGAN\n61-70968-0001 \n61-70968-0002 GONE\n")
    put(root / "61-70968-0000.flac", encode(tone(), RATE, "flac"))
    folder = tmp_path / "source"
    if packed:
        folder = tmp_path / "packed"
        folder.mkdir()
        with tarfile.open(folder / "test-clean.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "source" / "LibriSpeech", "LibriSpeech")
    found, files = loaded("librispeech", folder)
    with files:
        one, lost = found.items
        assert (one.category, one.reference, one.task) == (
            "test-clean",
            ("HE BEGAN",),
            "transcribe",
        )
        assert heard(one) == 250
        missing(lost)
    assert len(found.broken) == 1


def test_aishell_1_with_an_archive_of_each_speaker_in_that_of_the_set(tmp_path: Path) -> None:
    speaker = io.BytesIO()
    with tarfile.open(fileobj=speaker, mode="w:gz") as inner:
        for name in ("test/S0764/BAC009S0764W0121.wav", "test/../../escaped.wav"):
            info = tarfile.TarInfo(name)
            info.size = len(WAV)
            inner.addfile(info, io.BytesIO(WAV))
    transcript = (
        "BAC009S0002W0122 训练 的 话\nBAC009S0764W0121 甚至 出现\nBAC009S0764W0122 没有 声音\n"
    ).encode()
    with tarfile.open(tmp_path / "data_aishell.tgz", "w:gz") as outer:
        for name, data in (
            ("data_aishell/wav/S0764.tar.gz", speaker.getvalue()),
            ("data_aishell/transcript/aishell_transcript_v0.8.txt", transcript),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            outer.addfile(info, io.BytesIO(data))
    found, files = loaded("aishell-1", tmp_path)
    with files:
        one, lost = found.items
        assert (one.id, one.reference) == ("BAC009S0764W0121", ("甚至出现",))
        assert heard(one) == 250
        missing(lost)
    assert not (tmp_path / "escaped.wav").exists()
    assert not (tmp_path.parent / "escaped.wav").exists()


def test_aishell_2_by_channel(tmp_path: Path) -> None:
    folder = tmp_path / "AISHELL-DEV-TEST-SET" / "iOS" / "test"
    put(folder / "wav.scp", "IT0011W0001\twav/T0011/IT0011W0001.wav\n")
    put(folder / "trans.txt", "IT0011W0001\t换 一首 歌\nIT0011W0002\t\n")
    put(folder / "wav" / "T0011" / "IT0011W0001.wav", WAV)
    found, files = loaded("aishell-2", tmp_path)
    with files:
        (item,) = found.items
        assert (item.category, item.reference, heard(item)) == ("iOS", ("换一首歌",), 250)
    assert len(found.broken) == 1


def test_wenetspeech(tmp_path: Path) -> None:
    parquet(
        tmp_path / "TEST_NET" / "test-00000-of-00001.parquet",
        {
            "audio": [sound(), sound()],
            "text": ["你好", ""],
            "original_full_path": ["a", "b"],
        },
    )
    found, files = loaded("wenetspeech", tmp_path)
    with files:
        (item,) = found.items
        assert (item.category, item.reference, heard(item)) == ("TEST_NET", ("你好",), 250)
    assert len(found.broken) == 1


def test_seed_tts_in_all_its_forms_of_lines(tmp_path: Path) -> None:
    put(
        tmp_path / "en" / "meta.lst",
        "u1|what is said|prompt-wavs/p.wav|to say|wavs/truth.wav\n"
        "u2|to say|prompt-wavs/p.wav\nu3|to say\nu4\n",
    )
    put(tmp_path / "en" / "prompt-wavs" / "p.wav", WAV)
    put(tmp_path / "zh" / "meta.lst", "z|话|prompt-wavs/gone.wav|读\n")
    put(tmp_path / "zh" / "hardcase.lst", "h|话|prompt-wavs/gone.wav|难读\n")
    found, files = loaded("seed-tts", tmp_path)
    with files:
        assert [(i.id, i.turns[0].text) for i in found.items] == [
            ("en:u1", "to say"),
            ("en:u2", "to say"),
            ("en:u3", "to say"),
            ("zh:z", "读"),
            ("hard:h", "难读"),
        ]
        assert found.items[0].facts == {"prompt_text": "what is said"}
        assert heard(found.items[0]) == 250
        assert found.items[2].turns[0].sound is None
        missing(found.items[3])
    assert len(found.broken) == 1


def test_a_sound_that_is_none_is_an_error_of_that_item_alone(tmp_path: Path) -> None:
    put(
        tmp_path / "llama_questions.csv",
        table(("Questions", "Answer", "audio_filename"), ("q", "a", "x.wav")),
    )
    put(tmp_path / "x.wav", b"<html>")
    found, files = loaded("llama-questions", tmp_path)
    with files, pytest.raises(AudioError, match="HTML"):
        heard(found.items[0])


def test_ids_that_occur_twice_are_told_apart(tmp_path: Path) -> None:
    stepeval(tmp_path, lambda i, c, t: {"id": "same", "category": c, "turns": t})
    found, files = loaded("stepeval-360", tmp_path)
    files.close()
    assert [item.id for item in found.items] == ["same", "same#2"]


def test_sets_are_known_by_folder_or_by_file(tmp_path: Path) -> None:
    for name, folder in (("wenet_speech", "TEST_NET"), ("downloads", "en")):
        (tmp_path / name / folder).mkdir(parents=True)
    put(tmp_path / "downloads" / "en" / "meta.lst", "u|t\n")
    put(tmp_path / "downloads" / "audios.tar.gz", b"cut off")
    with SetFiles(tmp_path / "wenet_speech") as files:
        assert sets_in(files) == ["wenetspeech"]
    with SetFiles(tmp_path / "downloads", opened=False) as files:
        assert sets_in(files) == ["stepeval-360", "seed-tts"]


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="download the set"):
        SetFiles(tmp_path / "nowhere")
    put(tmp_path / "x.tar.gz", b"nothing")
    with pytest.raises(InputError, match="fetch it again"):
        SetFiles(tmp_path)
    (tmp_path / "x.tar.gz").unlink()
    for name in SETS:
        with SetFiles(tmp_path) as files, pytest.raises(InputError, match="holds no"):
            load_set(name, files)


def test_the_command_line_names_the_sets_of_the_catalogue() -> None:
    assert tuple(SETS) == NAMED
