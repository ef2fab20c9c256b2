import random
from dataclasses import replace

from step_audio.nano.domain import Delivery, QaSample, delivery, generate_intent


def style(*slots: str) -> QaSample:
    return QaSample("style", "", None, None, "", "", slots, ())


PLAIN = QaSample("sum", "", None, None, "", "", (), ())


def test_a_plain_answer_is_spoken_normally() -> None:
    assert delivery(PLAIN) == Delivery(speed=3, loudness=3, whisper=False)


def test_a_style_counts_at_once_and_for_later_answers() -> None:
    assert delivery(style("faster")).speed == 4
    later = replace(PLAIN, history=(style("faster"), style("faster"), style("faster")))
    assert delivery(later).speed == 5
    assert delivery(replace(PLAIN, history=(style("softer"),))).loudness == 2
    assert delivery(replace(PLAIN, history=(style("whisper"), style("normal")))) == Delivery()
    assert delivery(style("volume", "one")).loudness == 1
    assert delivery(style("speed", "five")).speed == 5


def test_saying_something_slowly_once_does_not_last() -> None:
    assert delivery(style("slowly", "red", "house")).speed == 2
    assert delivery(style("in a whisper", "red")).whisper
    assert delivery(replace(PLAIN, history=(style("slowly", "red"),))) == Delivery()


def test_every_generated_style_has_a_delivery() -> None:
    rng = random.Random(8)
    heard = {delivery(generate_intent(rng, "style", "train")) for _ in range(500)}
    assert {now.speed for now in heard} == {1, 2, 3, 4, 5}
    assert {now.loudness for now in heard} == {1, 2, 3, 4, 5}
    assert any(now.whisper for now in heard)
