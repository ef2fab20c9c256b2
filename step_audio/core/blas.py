"""NumPy's products on one thread.

A stream's products are a fraction of a millisecond long. OpenBLAS would split each over all cores,
and its threads then wait for more by spinning: a second core is busy for nothing, which on two
cores is where the model that speaks would run.
"""

import numpy as np  # noqa: F401 - only libraries that are loaded can be told
from threadpoolctl import threadpool_limits


def one_blas_thread() -> None:
    """Let this process's BLAS compute on the calling thread alone, from now on."""
    threadpool_limits(limits=1, user_api="blas")
