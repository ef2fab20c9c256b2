"""local-chat as it is shipped, with the scripted chat server and an MCP server behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mcp.server import MCPServer

from step_audio.core.audio import float_to_pcm16, read_audio
from step_audio.core.config import load_profile
from step_audio.core.ports import Services
from step_audio.core.resampling import resample
from step_audio.dialog.settings import DialogSettings
from step_audio.runtime import Runtime
from tests.any_chat.scripted import chat_server
from tests.chat_server import ChatServer
from tests.server.loopback import serving as serving_parts
from tests.tools.loopback import serving as serving_app

SAMPLES = Path(__file__).parents[2] / "web" / "samples"


@dataclass(frozen=True)
class Deployment:
    """What a test talks to, and what that talked to; `parts` makes those of another server."""

    port: int
    chat: ChatServer
    parts: Callable[[], tuple[Services, DialogSettings]]


def zoo() -> MCPServer:
    """A server with one tool."""
    server = MCPServer("zoo")

    @server.tool()
    def count_legs(animal: str) -> str:
        """Tell how many legs an animal has."""
        return f"a {animal} has eight"

    return server


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    pytest.importorskip("faster_whisper", reason="needs the extra `whisper`: make test-any-chat")
    voices = tmp_path_factory.mktemp("voices")
    with chat_server() as chat, serving_app(zoo().streamable_http_app()) as tools:
        environ = {
            "STEP_AUDIO__CHAT__URL": chat.url,
            "STEP_AUDIO__TOOLS__MCP__ZOO__URL": f"{tools}/mcp",
        }
        profile = load_profile("local-chat", environ)
        profile = profile.model_copy(update={"voice_folder": voices})

        def parts() -> tuple[Services, DialogSettings]:
            # A server that ends closes its connections: each has parts of its own.
            runtime = Runtime(profile)
            return runtime.services(), runtime.settings()

        with serving_parts(*parts()) as port:
            yield Deployment(port, chat, parts)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's sample questions as PCM16 at 24 kHz."""
    folder = tmp_path_factory.mktemp("sounds")
    for sample in SAMPLES.glob("*.mp3"):
        pcm, rate_hz = read_audio(sample)
        (folder / f"{sample.stem}.pcm").write_bytes(float_to_pcm16(resample(pcm, rate_hz, 24_000)))
    return folder
