"""What the encoder hears is handed to the LM whole, in order, and not kept for ever."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from step_audio.core.errors import InputError
from step_audio.data.speakers import HELD_NATURAL
from step_audio.nano.corpus import corpus
from step_audio.nano.corpus.corpus import CorpusUtterance
from step_audio.nano.domain import generate, generate_intent, greetings, role_start
from step_audio.nano.training import heard_files, lm_data
from step_audio.nano.training.heard import PATTERN, HeardWriter, read_heard
from tests.machine_voices import needs_machine_voices

WEIGHTS = Path("step_audio/weights/nano")
SOUND = np.zeros(16, dtype=np.int16)


def test_codes_text_and_question_come_back(tmp_path: Path) -> None:
    sample = generate(random.Random(1), "train")
    said = (
        CorpusUtterance("one two", "flite-rms", SOUND),
        CorpusUtterance("?", "noise", SOUND, sample),
    )
    writer = HeardWriter(tmp_path, size=2)
    writer.add(said, torch.arange(14).reshape(2, 7), torch.tensor([7, 4]))
    items, samples = read_heard(tmp_path / "heard-00000.safetensors")
    assert [item.text for item in items] == ["one two", "?"]
    assert items[0].codes[:, :2].tolist() == [[0, 1], [2, 3], [4, 5]]  # the odd frame is no group
    assert items[1].codes[:, :2].tolist() == [[7, 8], [9, 10]]
    assert not items[0].codes[:, 2:].any()
    assert samples == [None, sample]


def test_old_shards_go_and_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        writer = HeardWriter(tmp_path, size=1, kept=3)
        for _ in range(3):
            said = (CorpusUtterance("one", "flite-rms", SOUND),)
            writer.add(said, torch.zeros(1, 4, dtype=torch.long), torch.tensor([4]))
    assert [path.stem for path in sorted(tmp_path.glob(PATTERN))] == [
        f"heard-0000{n}" for n in (3, 4, 5)
    ]
    assert len(list(tmp_path.iterdir())) == 9


@needs_machine_voices
def test_a_corpus_and_speech_made_ahead_are_heard_by_the_shipped_encoder(tmp_path: Path) -> None:
    corpus.main(
        ["--out", f"{tmp_path}/asked", "--utterances", "2", "--shard", "2", "--intents", "role"]
    )
    people, tone = tmp_path / "people", np.sin(np.arange(48_000) / 10.0) * 0.5
    people.mkdir()
    soundfile.write(people / "ask-0000.flac", tone, 24_000)
    sample = generate(random.Random(1), "train")
    said = [
        {"text": "one", "voice": "af_heart", "start": 0, "samples": 24_000, "sample": None},
        {"text": "two", "voice": "af_heart", "start": 28_800, "samples": 9_600}
        | {"sample": asdict(sample)},
    ]
    listed = {"rate": 24_000, "utterances": said}
    (people / "ask-0000.json").write_text(json.dumps(listed))
    made = ["--tokenizers", str(WEIGHTS / "tokenizer"), "--out", f"{tmp_path}/heard"]
    heard_files.main([*made, "--speech", f"{tmp_path}/asked", "--people", str(people)])
    items, samples = read_heard(tmp_path / "heard/heard-00000.safetensors")
    by_text = {item.text: (item, asked) for item, asked in zip(items, samples, strict=True)}
    assert len(by_text) == len(items) == 4
    assert [by_text[text][1] for text in ("one", "two")] == [None, sample]
    assert len(by_text["one"][0].codes) in range(8, 16)  # one second and what was put around it
    assert sum(asked is not None and asked.intent == "role" for asked in samples) == 2

    said[0]["voice"] = HELD_NATURAL[0]
    (people / "ask-0000.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="only examines"):
        heard_files.main([*made, "--people", str(people)])


def test_more_answers_begin_with_what_is_said_about_roles_and_manners() -> None:
    texts = lm_data.more_answers(random.Random(1), 300, lasting=True)
    assert len(texts) >= 300
    assert all(texts)
    assert set(greetings()) <= texts
    request = generate_intent(random.Random(3), "role", "train")
    assert {request.answer, role_start(request)} - {""} <= texts
    assert len(lm_data.more_answers(random.Random(1), 20, lasting=False)) == 20
