import pytest

from step_audio.eval.intervals import rate_interval, share_interval


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263.
    low, high = share_interval(81, 263)
    assert low == pytest.approx(0.2553, abs=2e-4)
    assert high == pytest.approx(0.3662, abs=2e-4)


@pytest.mark.parametrize("hits", [0, 10])
def test_a_share_of_none_or_all_keeps_room_on_one_side(hits: int) -> None:
    low, high = share_interval(hits, 10)
    assert 0.0 <= low < high <= 1.0
    assert high - low > 0.2


def test_more_texts_narrow_the_interval_of_a_rate() -> None:
    few, many = rate_interval([0, 1, 2, 0], [4] * 4), rate_interval([0, 1, 2, 0] * 50, [4] * 200)
    assert few[0] <= many[0] < 3 / 16 < many[1] <= few[1]


def test_nothing_counted_has_no_interval() -> None:
    with pytest.raises(ValueError, match="counted"):
        share_interval(0, 0)
    with pytest.raises(ValueError, match="counted"):
        rate_interval([], [])
