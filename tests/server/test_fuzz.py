from tests.server.fuzz import run


def test_malformed_frames_crash_nothing_and_disturb_nobody() -> None:
    figures = run(range(1500), seed=7)
    assert (figures["crashes"], figures["misshapen"], figures["stuck"]) == (0, 0, 0)
    assert figures["errors"] > 500
    assert figures["neighbour_whole"] == figures["neighbour_asked"] > 0
