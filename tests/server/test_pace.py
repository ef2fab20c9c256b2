import pytest

from server.admission.pace import Bucket, Flooded, Pace, PaceLimits

SLOW = PaceLimits(
    messages_per_s=10, messages_burst=5, bytes_per_s=100, bytes_burst=1000, patience_s=1.0
)


def test_a_burst_passes_and_what_follows_waits_its_share() -> None:
    bucket = Bucket(rate=10, burst=5)
    assert [bucket.take(1, 0.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(1, 0.0) == 0.1


def test_rest_fills_the_bucket_up_to_its_burst() -> None:
    bucket = Bucket(rate=10, burst=5)
    bucket.take(5, 0.0)
    assert bucket.take(5, 100.0) == 0.0
    assert bucket.take(1, 100.0) > 0


def test_a_clock_that_jumps_back_holds_nobody_forever() -> None:
    bucket = Bucket(rate=10, burst=5)
    bucket.take(5, 1000.0)
    assert bucket.take(1, 0.0) == 0.1
    assert bucket.take(0, 1.0) == 0.0


def test_a_steady_client_is_never_held() -> None:
    pace = Pace(SLOW)
    assert [pace.hold(10, at / 10) for at in range(200)] == [0.0] * 200


def test_large_messages_count_by_their_bytes() -> None:
    pace = Pace(SLOW)
    assert pace.hold(1000, 0.0) == 0.0
    assert pace.hold(50, 0.0) == 0.5


def test_a_client_that_obeys_the_wait_is_not_a_flood_until_patience_ends() -> None:
    pace, now_s = Pace(SLOW), 0.0
    for _ in range(15):  # the burst, then a second of 0.1 s each
        now_s += pace.hold(1, now_s)
    with pytest.raises(Flooded):
        pace.hold(1, now_s)


def test_rest_forgives() -> None:
    pace, now_s = Pace(SLOW), 0.0
    for _ in range(1000):
        now_s += pace.hold(1, now_s) + 0.15


def test_a_flood_is_known_although_each_wait_lasts_a_little_longer() -> None:
    pace, now_s = Pace(SLOW), 0.0
    for _ in range(15):
        now_s += pace.hold(1, now_s) * 1.05
    with pytest.raises(Flooded):
        pace.hold(1, now_s)
