import asyncio
import threading

import pytest

from step_audio.core.types import BATCH, LIVE
from step_audio.dialog.workers import WorkerThreads


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def held() -> threading.Event:
    """Holds a call until it is set."""
    return threading.Event()


async def test_a_text_waits_for_everybody_who_talks(held: threading.Event) -> None:
    worker, order = WorkerThreads("voice"), list[str]()

    async def call(name: str, priority: int) -> None:
        await worker.run(lambda: order.append(name), priority)

    first = asyncio.create_task(worker.run(lambda: held.wait(10)))
    await settle()
    rest = [asyncio.create_task(call(f"text {n}", BATCH)) for n in range(2)]
    await settle()
    rest += [asyncio.create_task(call(f"talk {n}", LIVE)) for n in range(2)]
    await settle()
    held.set()
    await asyncio.gather(first, *rest)
    assert order == ["talk 0", "talk 1", "text 0", "text 1"]
    worker.close()


async def test_a_text_that_is_given_up_holds_up_no_other(held: threading.Event) -> None:
    worker = WorkerThreads("voice")
    first = asyncio.create_task(worker.run(lambda: held.wait(10)))
    await settle()
    texts = [asyncio.create_task(worker.run(lambda: "read", BATCH)) for _ in range(3)]
    await settle()
    texts[0].cancel()
    held.set()
    await first
    texts[1].cancel()  # in the very moment in which its turn may have come
    assert await asyncio.wait_for(texts[2], 10) == "read"
    worker.close()


async def test_texts_use_every_thread_that_is_free(held: threading.Event) -> None:
    worker = WorkerThreads("voice", threads=2)
    first = asyncio.create_task(worker.run(lambda: held.wait(10)))
    await settle()
    assert await asyncio.wait_for(worker.run(lambda: "read", BATCH), 10) == "read"
    held.set()
    await first
    worker.close()


async def test_a_call_that_was_given_up_keeps_its_thread_until_it_has_ended(
    held: threading.Event,
) -> None:
    """B9: a batch call went in behind it and stood before the next live one."""
    worker, order = WorkerThreads("voice"), list[str]()
    given_up = asyncio.create_task(worker.run(lambda: held.wait(10)))
    await settle()
    text = asyncio.create_task(worker.run(lambda: order.append("text"), BATCH))
    await settle()
    given_up.cancel()  # a barge-in: the thread still works on it
    await settle()
    live = asyncio.create_task(worker.run(lambda: order.append("live"), LIVE))
    await settle()
    held.set()
    await asyncio.wait_for(asyncio.gather(text, live), 10)
    assert order == ["live", "text"]
    worker.close()
