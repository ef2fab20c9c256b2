import pytest

from server.admission.sessions import CALM_S, MEMORY_S, Admission


def seen(*rtfs: float, sessions: int, limit: int = 100, at_s: float = 0.0) -> Admission:
    admission = Admission(limit)
    for rtf in rtfs:
        admission.answered(rtf, dry=False, sessions=sessions, now_s=at_s)
    return admission


def test_without_experience_the_profiles_limit_holds() -> None:
    assert Admission(4).allowed(0, 0.0) == 4


@pytest.mark.parametrize(
    ("rtf", "sessions", "allowed"),
    [(0.2, 1, 100), (0.8, 1, 100), (0.84, 40, 100), (0.85, 40, 39), (2.0, 2, 1), (2.0, 1, 1)],
)
def test_answers_as_slow_as_their_sound_show_that_the_machine_is_full(
    rtf: float, sessions: int, allowed: int
) -> None:
    assert seen(rtf, sessions=sessions).allowed(sessions, 0.0) == allowed


def test_the_profiles_limit_is_never_exceeded() -> None:
    assert seen(0.01, sessions=1, limit=4).allowed(1, 0.0) == 4
    assert seen(0.9, sessions=9, limit=4).allowed(1, 0.0) == 4


def test_a_slow_answer_among_ten_does_not_shut_the_door() -> None:
    assert seen(*[0.1] * 19, 0.9, sessions=1).allowed(1, 0.0) == 100
    assert seen(*[0.1] * 19, *[0.9] * 3, sessions=5).allowed(1, 0.0) == 4


def test_old_experience_is_forgotten() -> None:
    assert seen(0.9, sessions=1).allowed(1, MEMORY_S + 1) == 100


def test_while_playback_runs_dry_nobody_more_is_let_in() -> None:
    admission = seen(0.1, sessions=3)
    admission.answered(0.1, dry=True, sessions=3, now_s=5.0)
    assert admission.allowed(3, 6.0) == 3
    assert admission.allowed(0, 6.0) == 1
    assert admission.allowed(3, 5.0 + CALM_S) > 3


def test_a_clock_that_jumps_back_does_not_shut_the_door_forever() -> None:
    admission = seen(0.1, sessions=1, at_s=1e6)
    admission.answered(0.1, dry=True, sessions=1, now_s=1e6)
    assert admission.allowed(1, 0.0) > 1
