"""Engines of the published profiles' tests: HTTP servers in a thread, and the text in their ids."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from step_audio.core.ports import TextTokenizer
from step_audio.core.vocab import Vocab
from step_audio.engine.text import load_text_tokenizer
from tests.fake_vllm import FakeVllm
from tests.published.standins import text_tokenizer

VOCAB = Vocab()


@contextmanager
def running(*servers: FakeVllm) -> Iterator[None]:
    """Run servers in a thread with a loop of its own."""
    loop, up, down = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        contexts = [server.running() for server in servers]
        for context in contexts:
            await context.__aenter__()
        up.set()
        await down.wait()
        for context in contexts:
            await context.__aexit__(None, None, None)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(10)
        loop.close()


@cache
def tokenizer() -> TextTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(text_tokenizer())
        return load_text_tokenizer(Path(folder))


def words(text: str) -> list[int]:
    """Return the ids of text inside a turn."""
    return tokenizer().encode(f"\n{text}")[len(tokenizer().encode("\n")) :]


def said(ids: list[int]) -> str:
    decoder = tokenizer().open_decoder()
    text = [token_id for token_id in ids if 8 <= token_id < VOCAB.audio_base]
    pieces = [piece for token_id in text for piece in decoder.push(token_id)]
    return "".join([*pieces, *decoder.flush()])
