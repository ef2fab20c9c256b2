import random
import re

from step_audio.nano.domain import clear_words, pronunciations, salad, vocabulary
from step_audio.nano.domain.lexicon import words_of_data

PHONES = set(
    re.findall(
        r"\w+",
        "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th "
        "uh uw v w y z zh",
    )
)


def test_the_dictionary_has_exactly_the_words_of_the_data() -> None:
    assert set(vocabulary()) == words_of_data()
    assert list(vocabulary()) == sorted(vocabulary())
    assert 800 <= len(vocabulary()) <= 1100


def test_every_word_has_pronunciations_of_the_39_phones() -> None:
    assert len(PHONES) == 39
    for word, sounds in pronunciations().items():
        assert re.fullmatch(r"[a-z']+", word)
        assert sounds
        for sound in sounds:
            assert sound
            assert set(sound) <= PHONES
    assert pronunciations()["kyiv"]
    assert ["ey"] in pronunciations()["a"]


def test_clear_words_sound_like_no_other_word() -> None:
    clear = clear_words()
    assert {"two", "to", "four", "for", "a"}.isdisjoint(clear)
    sounds = [tuple(sound) for word in clear for sound in pronunciations()[word]]
    others = {
        tuple(sound)
        for word in set(vocabulary()) - set(clear)
        if len(word) > 1
        for sound in pronunciations()[word]
    }
    assert not set(sounds) & others
    assert len(clear) > 800


def test_salad_has_the_asked_length_and_reaches_every_word() -> None:
    rng, seen = random.Random(1), set()
    for _ in range(3000):
        words = salad(rng, vocabulary(), 2, 5).split()
        assert 2 <= len(words) <= 5
        seen.update(words)
    assert seen == set(vocabulary())
