from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from server.admission.limits import ServerSettings
from server.app import create_app
from server.observability.metrics import Metrics
from step_audio.core.ports import SoundDecoder, ToolBox, TurnDetector, Vocoder
from step_audio.core.vocab import Vocab
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.settings import DialogSettings
from tests.fakes import (
    VOCAB,
    FakeTools,
    FixedClock,
    InProcessDecoder,
    MemoryRecorder,
    ScriptedChat,
    ScriptedEngine,
    ScriptedRecognizer,
    SineVocoder,
    services,
)

Connect = Callable[..., TestClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a maker of clients around a scripted engine."""
    clients: list[TestClient] = []

    def make(
        scripts: Sequence[Sequence[int]] = ((),),
        *,
        engine: ScriptedEngine | None = None,
        settings: ServerSettings | None = None,
        dialog: DialogSettings | None = None,
        metrics: Metrics | None = None,
        web: Path | None = None,
        detector: TurnDetector | None = None,
        clock: FixedClock | None = None,
        recorder: MemoryRecorder | None = None,
        tools: ToolBox | None = None,
        vocoder: Vocoder | None = None,
        chat: ScriptedChat | None = None,
        recognizer: ScriptedRecognizer | None = None,
        decoder: SoundDecoder | None = None,
        vocab: Vocab = VOCAB,
    ) -> TestClient:
        parts = replace(
            services(engine or ScriptedEngine(scripts)),
            vocab=vocab,
            vocoder=vocoder or SineVocoder(),
            turn_detector=detector,
            clock=clock or FixedClock(),
            recorder=metrics or recorder or MemoryRecorder(),
            tools=tools or FakeTools(),
            chat_model=chat,
            recognizer=recognizer,
            sound_decoder=decoder or InProcessDecoder(),
        )
        assistant = Assistant(parts, dialog or DialogSettings())
        app = create_app(assistant, settings or ServerSettings(), metrics=metrics, web=web)
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)
