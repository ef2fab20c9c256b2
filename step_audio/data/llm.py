"""Texts from any OpenAI-compatible chat endpoint: questions and answers on given topics.

What comes back is checked like any input: one JSON object with the wanted keys, or the topic is
asked again. The prompt is a file of the package, or yours.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from step_audio.core.errors import StepAudioError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.manifest import content_id
from step_audio.data.tags import Tags
from step_audio.data.write import Exchange
from step_audio.dialog.prompting.system_prompts import load_prompt

TRIES: Final = 3
LONGEST_S: Final = 60.0
"""No server is waited for longer before it is asked again."""
BUSY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed."""
MAX_TEXT: Final = 600
MAX_WHY: Final = 300
_THOUGHT: Final = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL)
_TRIED_OBJECTS: Final = 50


class EndpointError(StepAudioError):
    """A chat or speech endpoint could not be reached, or answered something unusable.

    Attributes:
        status: of HTTP, None where there was no answer.
        retry_after_s: what the server asks for, None for nothing.
    """

    code = "endpoint_failed"

    def __init__(
        self, message: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status in BUSY


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """An OpenAI-compatible server.

    Attributes:
        url: up to and with `/v1`.
        model: its name there.
        key: sent as bearer token when not "".
    """

    url: str
    model: str
    key: str = ""
    timeout_s: float = 120.0
    pause_s: float = 1.0

    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        """Return the text of one completion.

        A server that is busy or cannot be reached is asked again, `TRIES` times in all: after the
        time that it asks for (Retry-After, at most a minute), else after `pause_s`, doubled each
        time.

        Raises:
            EndpointError: no answer, an HTTP error, or not of the protocol's form.
        """
        for attempt in range(TRIES):
            try:
                return self._ask(messages, settings)
            except EndpointError as error:
                if not error.passes or attempt == TRIES - 1:
                    raise
                wait = error.retry_after_s
                time.sleep(min(LONGEST_S, self.pause_s * 2**attempt if wait is None else wait))
        raise AssertionError("unreachable")

    def _ask(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        body = {"model": self.model, "messages": list(messages), **settings}
        where = f"{self.url.rstrip('/')}/chat/completions"
        try:
            answer = httpx.post(where, json=body, headers=headers, timeout=self.timeout_s)
            answer.raise_for_status()
            text = answer.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise refusal(where, error.response, self.key) from None
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{where} gave no completion: {error}") from None
        if not isinstance(text, str):
            raise EndpointError(f"{where} gave no text", 200)
        return text


def refusal(where: str, answer: httpx.Response, key: str = "") -> EndpointError:
    """Return the error of an HTTP status, with what the server says of it; never the key."""
    said = " ".join(answer.text[:MAX_TEXT].split())
    try:
        error = answer.json()["error"]
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        pass
    said = said.replace(key, "(key)") if key else said
    asked = answer.headers.get("retry-after", "").strip()
    wait = float(asked) if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", asked) else None
    words = f": {said[:MAX_WHY]}" if said else ""
    return EndpointError(f"{where} answered {answer.status_code}{words}", answer.status_code, wait)


def exchanges(
    endpoint: ChatEndpoint,
    topics: Sequence[str],
    each: int,
    *,
    language: str = "en",
    seed: int = 0,
    workers: int = 8,
    prompt: str = "",
    store: Path | None = None,
    lost: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> Iterator[Exchange]:
    """Yield exchanges on every topic, `each` of them; a question that fails is passed over.

    Args:
        topics: what the questions are about, a line each.
        prompt: instruction with {topic}, {language} and {number}; the package's by default.
        workers: requests at a time.
        store: file of what was written so far, in which nothing is asked for again: a model draws
            another text each time.
        lost: called with topic, number and reason of each question that failed.

    Raises:
        EndpointError: not one topic gave anything, or the server refuses every request (its key,
            its model).
    """
    template = prompt or load_prompt("data_exchange")
    wanted = [(topic, number) for topic in topics for number in range(each)]
    rows = [] if store is None else read_rows(store)
    written = {row["asked"]: row for row in rows}
    failures: list[str] = []
    made = 0

    def ask(item: tuple[str, int]) -> Exchange | None:
        topic, number = item
        asked = content_id(endpoint.model, topic, number, language, template, seed)
        if asked in written:
            row = written[asked]
            return parse(json.dumps(row), language, row["source"])
        found = write(topic, number)
        if found is not None and writer is not None:
            text = {"question": found.question, "answer": found.answer, "tags": found.tags.row()}
            writer.add({"asked": asked, **text, "source": found.source})
        return found

    def write(topic: str, number: int) -> Exchange | None:
        filled = template.replace("{topic}", topic).replace("{language}", language)
        message = {"role": "user", "content": filled.replace("{number}", str(number))}
        start = random.Random(f"{seed}|{topic}|{number}").getrandbits(31)
        text = ""
        for attempt in range(TRIES):
            try:
                text = endpoint.complete([message], temperature=1.0, seed=start + attempt)
            except EndpointError as error:
                if not error.passes and error.status != 200:
                    raise
                fail(topic, number, str(error))
                return None
            source = {
                "by": "llm",
                "model": endpoint.model,
                "topic": topic,
                "prompt": content_id(template),
                "seed": start + attempt,
            }
            found = parse(text, language, source)
            if found is not None:
                return found
        shown = " ".join(text.split())[:MAX_WHY]
        fail(topic, number, f"no completion was of the asked form; the last one: {shown}")
        return None

    def fail(topic: str, number: int, why: str) -> None:
        failures.append(why)
        lost({"topic": topic, "number": number, "why": why})

    with ExitStack() as stack:
        writer = None if store is None else stack.enter_context(RowWriter(store))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for found in pool.map(ask, wanted):
            if found is not None:
                made += 1
                yield found
    if wanted and not made:
        raise EndpointError(failures[-1] if failures else "no completion was of the asked form")


def parse(text: str, language: str, source: Mapping[str, Any]) -> Exchange | None:
    """Return the exchange of a completion, None when it has not the asked form."""
    row = first_object(text)
    if row is None:
        return None
    question, answer = row.get("question"), row.get("answer")
    if not all(isinstance(t, str) and 0 < len(t.strip()) <= MAX_TEXT for t in (question, answer)):
        return None
    try:
        tags = Tags.from_row(row.get("tags") or {})
    except (StepAudioError, TypeError):
        return None
    return Exchange(
        str(question).strip(), str(answer).strip(), tags=tags, language=language, source=source
    )


def first_object(text: str) -> dict[str, Any] | None:
    """Return the first JSON object in a completion, whatever stands around it, None for none.

    What a reasoning model thinks before it answers (`<think>`) is passed over.
    """
    rest, decoder = _THOUGHT.sub("", text), json.JSONDecoder()
    for _ in range(_TRIED_OBJECTS):
        at = rest.find("{")
        if at < 0:
            break
        rest = rest[at:]
        try:
            row, _ = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            rest = rest[1:]
            continue
        return row if isinstance(row, dict) else None
    return None
