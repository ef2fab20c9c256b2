"""A style is reported as applied when it reached the model that makes the sound, and only then."""

from __future__ import annotations

import pytest

from step_audio.core.config import load_profile
from step_audio.dialog.speakable.style_tags import SONGS, style_named
from tests.fakes import text_ids
from tests.published.style_reach import (
    ANSWERING,
    PROFILES,
    TAGS,
    TALKING,
    WISHES,
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
    sung = bool(style.by_voice(load_profile(profile).dialog.manners).manners)
    if style.song and not taught and not sung:
        assert reached.refused == "singing_unsupported"
    elif manners := style.by_voice(load_profile(profile).dialog.manners).manners:
        assert (reached.tags, reached.manner) == ("", ", ".join(manners))
    elif taught and style.tags:
        asked = f"({style.tags[0]})"
        assert (reached.tags, reached.ids) == (asked, len(text_ids(asked)))
        assert (reached.speed, reached.volume) == (1.0, 1.0), "it is not done twice"
    else:
        assert reached.tags == ""
        assert reached.speed == pytest.approx(style.speed, abs=0.01)
        assert reached.volume == pytest.approx(style.volume, abs=0.01)


@pytest.mark.parametrize("profile", ANSWERING)
def test_a_tag_that_the_model_writes_reaches_the_voice_that_knows_it(profile: str) -> None:
    manners = load_profile(profile).dialog.manners
    for tag in TAGS:
        style, reached = style_named(tag), in_answer(profile, tag)
        assert style is not None
        asked = f"({style.tags[0]})" if style.tags and not manners else ""
        done = style.by_voice(manners)
        assert (reached.tags, reached.manner) == (asked, ", ".join(done.manners))
        if manners:
            assert reached.speed == pytest.approx(done.speed, abs=0.01)
            assert reached.volume == pytest.approx(done.volume, abs=0.01)


def test_every_tag_of_the_published_speech_model_is_in_the_table() -> None:
    known = {tag for name in TAGS for tag in (style_named(name) or pytest.fail(name)).tags}
    assert known >= {*SONGS, "高兴1", "悲伤1", "四川话", "粤语", "快速1", "慢速2"}
