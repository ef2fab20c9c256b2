"""NumPy's products stay on one thread where the project serves."""

from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from step_audio.core.blas import one_blas_thread


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_every_blas_is_held_to_one_thread() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        assert blas_threads(), "NumPy brings one"
        one_blas_thread()
        assert blas_threads() == {1}
