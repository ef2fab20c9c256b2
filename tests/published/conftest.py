"""What `weights download` lays down, from stand-ins of the published folders on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from step_audio.cli import main
from tests.published.hub import FakeHub, serving
from tests.published.standins import code_host, listing, repositories
from tests.vllm_server.process import free_port

Download = Callable[[str], Path]


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Download]:
    """`weights download PROFILE` from a hub and a code host on loopback; each profile once."""
    home = tmp_path_factory.mktemp("published")
    speakers = listing(home / "speakers.json")
    done: dict[str, Path] = {}
    with serving(FakeHub(repositories())) as hub, code_host() as host:

        def download(profile: str) -> Path:
            if profile not in done:
                folder = home / profile
                addresses = ["--hub", hub.address, "--code-host", host.address]
                command = ["weights", "download", profile, "-o", str(folder), *addresses]
                assert main([*command, "--speakers", str(speakers)]) == 0
                done[profile] = folder
            return done[profile]

        yield download


@pytest.fixture
def environ(downloaded: Download, tmp_path: Path) -> dict[str, str]:
    """Where things are on this machine; filled by each walk."""
    return {"STEP_AUDIO__SERVER__PORT": str(free_port()), "HOME": str(tmp_path)}
