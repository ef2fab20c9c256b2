from pathlib import Path

import pytest

from step_audio.nano.domain import vocabulary
from step_audio.nano.exam import person

needs_prompts = pytest.mark.skipif(not person.SOUNDS.is_dir(), reason=f"apt: {person.PACKAGE}")


def test_every_prompt_is_a_word_that_nano_was_taught() -> None:
    known = set(vocabulary())
    assert len(person.PROMPTS) == 72
    assert all(word in known for said in person.PROMPTS.values() for word in said.split())


def test_missing_prompts_name_their_package(tmp_path: Path) -> None:
    with pytest.raises(person.PromptsMissing, match="asterisk-core-sounds-en-g722"):
        list(person.prompts(tmp_path))


@needs_prompts
def test_prompts_are_read_as_sound_of_a_word_each() -> None:
    read = dict(person.prompts())
    assert len(read) >= 70
    assert all(0.2 * 16_000 < len(pcm) < 3 * 16_000 for pcm in read.values())
    assert all(0.02 < abs(pcm).max() <= 1.0 for pcm in read.values())
