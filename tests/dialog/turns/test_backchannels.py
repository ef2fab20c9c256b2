import pytest

from step_audio.dialog.turns.backchannels import ASSENT, OBJECTIONS, objects


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        *((phrase, False) for phrase in ASSENT),
        *((phrase, True) for phrase in OBJECTIONS),
        ("", False),
        (" ... ", False),
        ("Mm-hmm.", False),
        ("Yeah, yeah. Right!", False),
        ("OK, I see.", False),
        ("嗯。", False),
        ("对，对，好的。", False),
        ("okay stop", True),
        ("no no no", True),
        ("Wait!", True),
        ("oh no", True),
        ("等一下", True),
        ("嗯，不对", True),
        ("what about tomorrow", True),
        ("london", None),
        ("right here", None),
        ("nothing", None),
        ("sure thing", None),
        ("今天", None),
    ],
)
def test_words_over_an_answer(words: str, ends: bool | None) -> None:
    assert objects(words) is ends


def test_no_word_is_in_both_lists() -> None:
    assert not {*ASSENT} & {*OBJECTIONS}
