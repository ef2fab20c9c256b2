import gc
import sys
from collections.abc import Iterator

import pytest

from server.serving import calm


@pytest.fixture
def restored() -> Iterator[None]:
    thresholds, switch_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(switch_s)


@pytest.mark.usefixtures("restored")
def test_a_calm_process_leaves_what_was_loaded_to_itself_and_still_clears_what_comes() -> None:
    calm()
    assert gc.get_freeze_count() > 1000
    assert sys.getswitchinterval() < 0.001
    loop: list[object] = []
    loop.append(loop)
    del loop
    assert gc.collect() > 0
