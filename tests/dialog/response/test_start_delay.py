"""How long a first sound waits, so that no gap follows."""

from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.ports import ChunkSizes
from step_audio.dialog.response.start_delay import GROUP_S, MOST_S, WritingPace, start_delay_s

NANO = ChunkSizes((2, 3, 5, 8, 12, 16), 1)


def pace(group_s: float, groups: int = 3) -> WritingPace:
    known = WritingPace()
    known.wrote(10.0, group=False)
    for number in range(groups):
        known.wrote(10.0 + group_s * (number + 1), group=True)
    return known


def gaps_s(chunks: ChunkSizes, group_s: float, vocoder_s: float, delay_s: float) -> list[float]:
    """Play ten chunks of an answer whose model and vocoder keep their pace; return the gaps."""
    received, made_s, heard_until_s, gaps = 0, 0.0, 0.0, []
    first_s = 0.0
    for count in range(10):
        size = chunks.sizes[min(count, len(chunks.sizes) - 1)]
        received += size
        cost_s = vocoder_s * (0.4 + 0.6 * size / chunks.sizes[0])
        made_s = max(made_s, (received + chunks.lookahead) * group_s) + cost_s
        if not count:
            first_s = made_s + delay_s
            heard_until_s = first_s
        gaps.append(max(0.0, made_s - heard_until_s))
        heard_until_s = max(heard_until_s, made_s) + size * GROUP_S
    return gaps


def test_a_quick_machine_waits_for_nothing() -> None:
    assert start_delay_s(NANO, pace(0.025), 0.03) == 0.0


def test_a_machine_that_three_answers_share_waits_until_the_rest_follows() -> None:
    delay_s = start_delay_s(NANO, pace(0.08), 0.05)
    assert 0.0 < delay_s < MOST_S
    assert max(gaps_s(NANO, 0.08, 0.05, 0.0)) > 0.0
    assert max(gaps_s(NANO, 0.08, 0.05, delay_s)) == 0.0


def test_a_machine_that_is_too_slow_does_not_wait_for_ever() -> None:
    assert start_delay_s(NANO, pace(0.4), 0.5) == MOST_S


def test_a_vocoder_that_speaks_every_group_needs_no_delay() -> None:
    assert start_delay_s(ChunkSizes(), pace(0.05, groups=1), 0.02) == 0.0
    assert start_delay_s(ChunkSizes(), WritingPace(), 0.0) == 0.0


@given(st.floats(0.005, 0.1), st.floats(0.005, 0.09))
def test_no_gap_follows_within_what_is_thought_ahead(group_s: float, vocoder_s: float) -> None:
    delay_s = start_delay_s(NANO, pace(group_s), vocoder_s)
    if delay_s < MOST_S:
        assert max(gaps_s(NANO, group_s, vocoder_s, delay_s)[:5]) < 1e-9
