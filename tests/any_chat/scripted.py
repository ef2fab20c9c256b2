"""The chat server of these tests: scripted words, streamed with the habits of known servers.

What is asked decides what is answered, and each answer comes in another server's habits.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.chat_server import ChatServer, calling, completion, saying, serving

CAPITAL: Final = "The capital of France is Paris."
LEGS: Final = "A spider has eight legs."
JOKE: Final = "The cat sat on the clock, because it wanted to be on time."
LONG: Final = "It is noon. " + " ".join(f"One and {n} is {n + 1}." for n in range(2, 40))
SLOWER: Final = "I speak slower now."
OTHER: Final = "I can hear you."


def answer(body: dict[str, Any]) -> bytes:
    """Return the stream for a request."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        told = last["content"]
        return saying(LEGS if "eight" in told else SLOWER if "speed" in told else JOKE)
    said = str(last["content"]).lower()
    if "capital" in said:  # a thinking model behind a server without a parser for it
        pieces = ["<think>", "France? ", "Paris.", "</think>", "\n\n", *_words(CAPITAL)]
        return _without_done(completion(*({"content": piece} for piece in pieces)))
    if "spider" in said or "legs" in said:  # fragments, as vLLM streams them
        name = next(n for n in _tools(body) if n.endswith("count_legs"))
        fragments = [
            {"index": 0, "id": "chatcmpl-tool-1", "function": {"name": name, "arguments": ""}},
            *({"index": 0, "function": {"arguments": a}} for a in ('{"ani', 'mal": "spi', 'der"}')),
        ]
        return completion(*({"tool_calls": [f]} for f in fragments), reason="tool_calls")
    if "joke" in said:
        return calling("tell_joke", "")  # empty arguments
    if "slower" in said:
        return calling("set_speech", '{"speed": 0.8}', "call_slower")
    return saying(LONG if "london" in said else OTHER)


def _tools(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", ())]


def _words(text: str) -> list[str]:
    return [(" " if at else "") + word for at, word in enumerate(text.split(" "))]


def _without_done(stream: bytes) -> bytes:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 9}})
    return stream.replace(b"data: [DONE]\n\n", f"data: {usage}\n\n".encode())


@contextmanager
def chat_server(
    first_s: float = 0.05, piece_s: float = 0.01, models: tuple[str, ...] = ("scripted",)
) -> Iterator[ChatServer]:
    """Serve in a thread of its own while the block runs."""
    server = ChatServer([answer], first_s=first_s, piece_s=piece_s, models=models)
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def work() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        async with serving(server):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        stop[0]()
        thread.join(10)
