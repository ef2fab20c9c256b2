"""The openai package: GA with 3.x; with `--beta` and 2.x beta. All events against its types."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any, get_args

import openai
from flow import Raw, Report, url
from openai import AsyncOpenAI
from pydantic import TypeAdapter, ValidationError


async def main(report: Report, *, beta: bool) -> None:
    if beta:
        from openai.types.beta.realtime import RealtimeServerEvent
    else:
        from openai.types.realtime import RealtimeServerEvent
    known = TypeAdapter(RealtimeServerEvent)
    kinds = _kinds(RealtimeServerEvent)
    base = url().removesuffix("/realtime")
    client = AsyncOpenAI(
        api_key="none", base_url=base.replace("ws", "http", 1), websocket_base_url=base
    )
    realtime = client.beta.realtime if beta else client.realtime
    async with realtime.connect(model="step-audio-nano") as connection:

        async def events() -> AsyncIterator[dict[str, Any]]:
            while True:
                raw = json.loads(await connection.recv_bytes())
                if raw["type"] not in kinds:
                    report.violations.append(f"unknown event {raw['type']}")
                try:
                    known.validate_python(_known_model(raw) if beta else raw)
                except ValidationError as error:
                    report.violations.append(f"{raw['type']}: {error.errors()[:2]}")
                yield raw

        await Raw(connection.send, events(), report, beta=beta).converse()
        async with report.waiting("the close"):
            await connection.close(code=1000)
        report.done("close")


def _known_model(raw: dict[str, Any]) -> dict[str, Any]:
    """Return an event with a model name that 2.x lists; it lists those of one provider only."""
    if "session" not in raw:
        return raw
    return {**raw, "session": {**raw["session"], "model": "gpt-realtime"}}


def _kinds(union: Any) -> set[str]:
    """Return the values of `type` that the client's union of events knows."""
    found: set[str] = set()
    for arg in get_args(union):
        field = getattr(arg, "model_fields", {}).get("type")
        found |= set(get_args(field.annotation)) if field is not None else _kinds(arg)
    return found


if __name__ == "__main__":
    BETA = "--beta" in sys.argv
    REPORT = Report("openai-python beta" if BETA else "openai-python", openai.__version__)
    REPORT.run(main(REPORT, beta=BETA))
