"""What a published TTS model learns to read from is, id for id, what it is asked with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from step_audio.data.examples import Examples
from step_audio.data.manifest import SpokenUtterance, TextLine, read_utterances
from step_audio.data.pack import pack, read_samples
from step_audio.data.readers import SpokenLine, draw_voice
from step_audio.data.samples import SoundMissing
from step_audio.data.shards import TokenShards
from step_audio.data.speak import speak
from step_audio.data.tags import Tags
from step_audio.data.write import PUBLISHED, Exchange, write
from step_audio.dialog.prompting.prompt import PromptBuilder
from tests.fakes import VOCAB, ByteTokenizer, MemoryVoices, group

VOICES = {"user": ["una"], "assistant": ["ann", "bob"]}
TEXTS = [Exchange(f"question {n}", f"Answer number {n}.") for n in range(12)]
TAGGED = [replace(text, answer=f"Slow {n}.", tags=Tags(speed=1)) for n, text in enumerate(TEXTS)]


class TwoVoices:
    """Each line is a noise of its own, said by the voice that is drawn for it."""

    def read(self, line: TextLine) -> SpokenLine:
        noise = np.random.default_rng(int(line.id[:8], 16)).standard_normal(1600)
        return SpokenLine((0.1 * noise).astype(np.float32), 16_000, draw_voice(line, VOICES), {})


@pytest.fixture
def said(tmp_path: Path) -> dict[str, SpokenUtterance]:
    write(
        tmp_path, [e for both in zip(TEXTS, TAGGED, strict=True) for e in both], ["TTS"], PUBLISHED
    )
    speak(tmp_path, TwoVoices())
    return {utterance.id: utterance for utterance in read_utterances(tmp_path)}


def test_a_packed_tts_prompt_is_the_one_that_serves(
    tmp_path: Path, said: dict[str, SpokenUtterance]
) -> None:
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    groups = {name: (group(n), group(n + 1)) for n, name in enumerate(said)}
    samples = {sample.id: sample for sample in read_samples(tmp_path)}
    examples = Examples(list(said.values()))
    counts = pack(
        list(samples.values()), groups, builder, VOCAB, tmp_path / "pack", examples=examples
    )
    assert counts == {"TTS": 24}
    shards = TokenShards(tmp_path / "pack")
    for at, (name, _) in enumerate(shards.rows()):
        answer = said[samples[name].lines()[-1]]
        shown = said[examples.fitted(samples[name]).lines()[0]]
        assert (shown.speaker, shown.tags) == (answer.speaker, Tags())
        assert shown.id != answer.id
        voice = replace(
            MemoryVoices("x").get("x"), prompt_text=shown.text, prompt_groups=groups[shown.id]
        )
        prompt = builder.tts(answer.tags.prefix() + answer.text, voice)
        ids, mask = shards[at]
        assert ids.tolist() == [*prompt, *VOCAB.ids(groups[answer.id]), VOCAB.eot]
        assert mask.tolist() == [False] * len(prompt) + [True] * 11


def test_an_example_that_fits_stays_and_a_voice_of_one_line_has_none(
    tmp_path: Path, said: dict[str, SpokenUtterance]
) -> None:
    kept = 0
    for sample in read_samples(tmp_path):
        lines = [said[name] for name in sample.lines()]
        if len(lines) == 2 and lines[0].speaker == lines[1].speaker:
            assert Examples(list(said.values())).fitted(sample) == sample
            kept += 1
        with pytest.raises(SoundMissing, match="example"):
            Examples(lines[-1:]).fitted(sample)
    assert kept


def test_the_shown_line_is_one_without_tags(tmp_path: Path) -> None:
    write(tmp_path, [TEXTS[0], TAGGED[1], TAGGED[2]], ["TTS"], PUBLISHED)
    plain = read_samples(tmp_path)[0].lines()[-1]
    assert [s.lines()[0] for s in read_samples(tmp_path)[1:]] == [plain, plain]
