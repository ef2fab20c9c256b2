"""A style is reported as applied when it reached the model that makes the sound, and only then."""

from __future__ import annotations

import pytest

from step_audio.dialog.speakable.style_tags import SONGS, style_named
from tests.fakes import text_ids
from tests.published.style_reach import (
    PROFILES,
    TAGS,
    TALKING,
    WISHES,
    WRITING,
    in_answer,
    in_session,
    in_text,
)


@pytest.mark.parametrize("profile", TALKING)
def test_what_is_reported_as_applied_is_what_was_asked_of_the_sound_model(profile: str) -> None:
    for name, wish in WISHES:
        reached = in_session(profile, name, wish)
        # A role is the business of the model that writes.
        wanted = reached.words if name == "role" else reached.heard
        assert reached.applied == wanted, f"{name} {wish}: {reached}"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_reaches_a_model_that_knows_it_as_ids_and_no_other(profile: str, tag: str) -> None:
    style, reached = style_named(tag), in_text(profile, tag)
    assert style is not None
    taught = profile in ("tts-3b", "chat-130b", "one-gpu")
    if style.song and not taught:
        assert reached.refused == "singing_unsupported"
    elif taught and style.tags:
        asked = f"({style.tags[0]})"
        assert (reached.tags, reached.ids) == (asked, len(text_ids(asked)))
        assert (reached.speed, reached.volume) == (1.0, 1.0), "it is not done twice"
    else:
        assert reached.tags == ""
        assert reached.speed == pytest.approx(style.speed, abs=0.01)
        assert reached.volume == pytest.approx(style.volume, abs=0.01)


@pytest.mark.parametrize("profile", WRITING)
def test_a_tag_that_the_chat_model_writes_reaches_the_voice_that_knows_it(profile: str) -> None:
    for tag in TAGS:
        style = style_named(tag)
        assert style is not None
        asked = f"({style.tags[0]})" if style.tags and profile != "local-chat" else ""
        assert in_answer(profile, tag).tags == asked


def test_every_tag_of_the_published_speech_model_is_in_the_table() -> None:
    known = {tag for name in TAGS for tag in (style_named(name) or pytest.fail(name)).tags}
    assert known >= {*SONGS, "高兴1", "悲伤1", "四川话", "粤语", "快速1", "慢速2"}
