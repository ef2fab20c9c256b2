"""Letter-to-sound rules from a dictionary."""

from step_audio.dialog.speakable.pronunciation import Pronunciations, symbols_of
from step_audio.nano.domain.letter_rules import aligned, learn_rules
from step_audio.nano.domain.lexicon import pronunciations


def test_letters_and_sounds_are_aligned() -> None:
    likely = {("c", "K"): -1.0, ("a", "1"): -1.0, ("t", "T"): -1.0, ("e", ""): -1.0}
    assert aligned("cat", "K1T", likely) == ["K", "1", "T"]
    assert aligned("cate", "K1T", likely) == ["K", "1", "T", ""]
    assert aligned("c", "K1T", likely) is None


def test_rules_of_the_domain_say_words_that_they_have_not_met() -> None:
    entries = {
        word: symbols_of([phone.upper() for phone in ways[0]])
        for word, ways in pronunciations().items()
        if len(word) > 1
    }
    words = sorted(entries)
    unseen = words[::5]
    rules = learn_rules({word: entries[word] for word in words if word not in unseen})
    said = Pronunciations([], "\na U\n", rules)
    right = sum(said.sounds(word) == entries[word] for word in unseen)
    assert right > len(unseen) / 5
    assert all(said.sounds(word) for word in unseen)
