"""Texts from any OpenAI-compatible chat endpoint: questions and answers on given topics.

What comes back is checked like any input: one JSON object with the wanted keys, or the topic is
asked again. The prompt is a file of the package, or yours.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
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
MAX_TEXT: Final = 600
_FENCE: Final = re.compile(r"^```(?:json)?\s*|\s*```$")


class EndpointError(StepAudioError):
    """A chat or speech endpoint could not be reached, or answered something unusable."""

    code = "endpoint_failed"


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

    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        """Return the text of one completion.

        Raises:
            EndpointError: no answer, an HTTP error, or not of the protocol's form.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        body = {"model": self.model, "messages": list(messages), **settings}
        where = f"{self.url.rstrip('/')}/chat/completions"
        try:
            answer = httpx.post(where, json=body, headers=headers, timeout=self.timeout_s)
            answer.raise_for_status()
            text = answer.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise EndpointError(f"{where} answered {error.response.status_code}") from None
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{where} gave no completion: {error}") from None
        if not isinstance(text, str):
            raise EndpointError(f"{where} gave no text")
        return text


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
) -> Iterator[Exchange]:
    """Yield exchanges on every topic, `each` of them; a topic that fails is passed over.

    Args:
        topics: what the questions are about, a line each.
        prompt: instruction with {topic}, {language} and {number}; the package's by default.
        workers: requests at a time.
        store: file of what was written so far, in which nothing is asked for again: a model draws
            another text each time.

    Raises:
        EndpointError: not one topic gave anything.
    """
    template = prompt or load_prompt("data_exchange")
    wanted = [(topic, number) for topic in topics for number in range(each)]
    rows = [] if store is None else read_rows(store)
    written = {row["asked"]: row for row in rows}
    failures: list[StepAudioError] = []
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
        for attempt in range(TRIES):
            try:
                text = endpoint.complete([message], temperature=1.0, seed=start + attempt)
            except EndpointError as error:
                failures.append(error)
                continue
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
        return None

    with ExitStack() as stack:
        writer = None if store is None else stack.enter_context(RowWriter(store))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for found in pool.map(ask, wanted):
            if found is not None:
                made += 1
                yield found
    if wanted and not made:
        raise failures[-1] if failures else EndpointError("no completion was of the asked form")


def parse(text: str, language: str, source: Mapping[str, Any]) -> Exchange | None:
    """Return the exchange of a completion, None when it has not the asked form."""
    try:
        row = json.loads(_FENCE.sub("", text.strip()))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
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
