"""What of a role comes to which part of a deployment, and what is said of the rest."""

import pytest

from step_audio.dialog.role_play.cards import load_cards
from step_audio.dialog.role_play.role import Role, role_of
from step_audio.dialog.speakable.style_tags import PLAIN, Style, StyleReach

CARDS = load_cards()
BY_HEART = {"pirate": ("talk like a pirate", "Ahoy! Now I talk like a pirate.")}
NANO = StyleReach()
CHAT = StyleReach(instructions=True, speaks_itself=False)
TAGGED = StyleReach(instructions=True, speaks_itself=False, tags=True, songs=True)
SPEAKS = StyleReach(instructions=True)


def test_a_card_is_told_in_words_each_part_in_a_line_of_its_own() -> None:
    card = CARDS["pirate"]
    lines = role_of("pirate", CARDS, {}).lines(CHAT).splitlines()
    assert lines[0] == "You play a role and never leave it. You are a pirate."
    assert lines[1] == card.who
    assert lines[2].endswith(card.speaks or "")
    assert lines[3].endswith(" ".join(card.knows))
    assert lines[4].endswith("; ".join(card.never) + ".")
    assert len(lines) == 5


def test_a_chinese_card_is_told_in_chinese() -> None:
    lines = role_of("chuanmeizi", CARDS, {}).lines(SPEAKS).splitlines()
    assert lines[0] == "请一直扮演一个角色，不要出戏。你的角色是：川妹子。"
    assert lines[3] == "你的语气：高兴1、四川话、快速1。"


def test_only_a_model_that_makes_the_sound_itself_is_told_the_manner_in_words() -> None:
    role = role_of("pirate", CARDS, {})
    assert "happy, loud" in role.lines(SPEAKS)
    assert "happy, loud" not in role.lines(CHAT)
    assert role.spoken(TAGGED) == Style(("高兴1",))
    assert role.spoken(CHAT) == PLAIN


def test_a_song_is_told_to_a_model_that_sings_alone() -> None:
    role = role_of("rapper", CARDS, {})
    assert role.spoken(TAGGED) == Style(("RAP",))
    silent = StyleReach(instructions=True, speaks_itself=False, tags=True)
    assert role.spoken(silent) == PLAIN
    assert role.not_applied(silent) == {"role.manner": "nothing here speaks in this manner: RAP"}
    assert role.not_applied(TAGGED) == {}


@pytest.mark.parametrize("text", ["pirate", "a pirate", "You are a pirate."])
def test_a_role_known_by_heart_is_set_as_it_was_taught(text: str) -> None:
    role = role_of(text, CARDS, BY_HEART)
    assert role.exchange == BY_HEART["pirate"]
    assert role.applied(NANO)
    assert "role" not in role.not_applied(NANO)


def test_of_a_role_known_by_heart_it_is_said_what_the_model_does_not_know() -> None:
    why = role_of("pirate", CARDS, BY_HEART).not_applied(NANO)
    assert set(why) == {"role.who", "role.speaks", "role.knows", "role.never", "role.manner"}
    assert why["role.manner"] == "nothing here speaks in this manner: 高兴1"


def test_slow_and_quiet_are_done_to_the_sound_anywhere() -> None:
    assert "role.manner" not in role_of("butler", CARDS, {"butler": ("", "")}).not_applied(NANO)
    assert "role.manner" not in role_of("robot", CARDS, {"robot": ("", "")}).not_applied(NANO)


@pytest.mark.parametrize("text", ["a lion tamer", "shuoshuren"])
def test_another_role_is_not_applied_and_the_known_ones_are_named(text: str) -> None:
    role = role_of(text, CARDS, BY_HEART)
    assert not role.applied(NANO)
    assert (
        role.not_applied(NANO)["role"] == "this model plays only roles that it was taught: pirate"
    )


def test_free_words_are_told_as_they_are() -> None:
    role = role_of("a {cook}", CARDS, {})
    assert role == Role("a {cook}")
    assert role.lines(CHAT) == "You play this role and never leave it: a {cook}"
    assert role.not_applied(CHAT) == {}
