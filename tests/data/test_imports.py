"""Data of others comes in and goes out: folders, JSONL, parquet, data sets of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from step_audio.cli import main
from step_audio.core.audio import wav_bytes, write_wav
from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.data import filter as sieve
from step_audio.data.gates import ALL, with_bounds
from step_audio.data.imports import ImportDefaults, export_rows, import_rows, read_source
from step_audio.data.manifest import read_utterances
from step_audio.data.pack import pack, read_samples, tokens
from step_audio.dialog.prompting.prompt import PromptBuilder
from tests.data.sounds import RATE, gate, tone
from tests.fakes import VOCAB, ByteTokenizer, CountingTokenizer

GIVEN = ImportDefaults("me", "CC0")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for name, hertz, words in (
        ("ann/1", 200, "good morning"),
        ("2", 300, "good night"),
        ("3", 400, ""),
    ):
        path = tmp_path / "recordings" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, tone(1.0, hertz), RATE)
        if words:
            path.with_suffix(".txt").write_text(words + "\n")
    (tmp_path / "recordings" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "recordings" / "broken.txt").write_text("what")
    return tmp_path / "recordings"


def test_a_folder_of_recordings_becomes_a_pack(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    for new in (2, 0):
        assert main(["data", "import", str(root), str(recordings), "--licence", "CC0"]) == 0
        said = capsys.readouterr().out
        assert f"{new} new utterances, {2 * new} new samples" in said
        assert "1 left out: no text" in said
        assert "1 left out: sound not readable" in said
    whys = {row["reason"]: row["why"] for row in read_rows(root / "import_failures.jsonl")}
    assert "write what is said" in whys["no text"]
    found = {u.text: u for u in read_utterances(root)}
    assert (found["good morning"].speaker, found["good night"].speaker) == ("ann", "me")
    assert found["good night"].source["licence"] == "CC0"
    sieve.measure(root, gate)
    passed = sieve.accepted(root, with_bounds(ALL, ["error_rate<=1"]))
    groups = tokens(root, passed, CountingTokenizer, "fake")
    counts = pack(
        read_samples(root), groups, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, tmp_path / "pack"
    )
    assert counts == {"ASR": 2, "TTS": 2}


def test_conversations_become_samples_of_what_was_spoken(recordings: Path, tmp_path: Path) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "hello", "audio": "ann/1.wav"},
        {"role": "assistant", "content": "Good morning.", "audio": "2.wav"},
    ]
    rows = [
        {"messages": messages, "licence": "MIT"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes?"}]},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "king", "content": "hi"}]},
        {"messages": [{"role": "user"}, {"role": "assistant", "content": "Yes?"}]},
    ]
    (recordings / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, base = read_source(recordings / "talks.jsonl")
    counts = import_rows(tmp_path / "set", found, base, GIVEN)
    assert counts == {"utterances": 2, "samples": 2, "no conversation": 2, "no text": 1}
    spoken, typed = read_samples(tmp_path / "set")
    assert (spoken.task, typed.task) == ("AQAA", "TQTA")
    assert spoken.source["licence"] == "MIT"
    assert spoken.turns[2][1][0] == {"heard": "hello"}
    assert spoken.turns[2][1][1]["spoken"] == "Good morning."
    assert typed.turns[0] == ["system", [{"prompt": "answer"}]]


def test_a_path_that_leads_elsewhere_is_refused(recordings: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "secret.wav", tone(1.0, 200), RATE)
    rows: list[dict[str, Any]] = [
        {"audio": "../secret.wav", "text": "no"},
        {"audio": str(tmp_path / "secret.wav"), "text": "no"},
        {"audio": 3, "text": "no"},
        {"text": "no"},
    ]
    counts = import_rows(tmp_path / "set", rows, recordings, GIVEN)
    assert counts == {"no sound": 4}
    with pytest.raises(InputError, match=r"no \.jsonl, no \.parquet"):
        read_source(tmp_path / "nothing")
    assert main(["data", "import", str(tmp_path / "set"), str(recordings)]) == 2


def test_sounds_go_out_as_parquet_and_come_in_again(recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    found, base = read_source(recordings)
    import_rows(tmp_path / "set", found, base, GIVEN)
    assert export_rows(tmp_path / "set", tmp_path / "out.parquet") == 2
    assert export_rows(tmp_path / "set", tmp_path / "out.jsonl") == 2
    rows, base = read_source(tmp_path / "out.parquet")
    assert import_rows(tmp_path / "again", rows, base, ImportDefaults("x", "y")) == {
        "utterances": 2,
        "samples": 4,
    }
    first, second = (
        {(u.sha256, u.text, u.speaker, u.source["licence"]) for u in read_utterances(root)}
        for root in (tmp_path / "set", tmp_path / "again")
    )
    assert first == second


def test_a_data_set_of_hugging_face_comes_in(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    cells = [{"bytes": wav_bytes(tone(1.0, 100.0 * n), RATE), "path": f"{n}.wav"} for n in (2, 3)]
    made = datasets.Dataset.from_dict({"audio": cells, "sentence": ["one", "two"]})
    made = made.cast_column("audio", datasets.Audio(decode=False))
    made.save_to_disk(str(tmp_path / "hf"))
    rows, base = read_source(tmp_path / "hf")
    assert import_rows(tmp_path / "set", rows, base, GIVEN)["utterances"] == 2
    assert {u.text for u in read_utterances(tmp_path / "set")} == {"one", "two"}
