from step_audio.eval.latency import percentiles


def test_percentiles_of_a_known_series() -> None:
    result = percentiles([float(x) for x in range(101)])
    assert result is not None
    assert (result.p50, result.p95, result.worst, result.count) == (50.0, 95.0, 100.0, 101)


def test_no_values_have_no_percentiles() -> None:
    assert percentiles([]) is None
