"""The data engine on a Ray cluster of two nodes: the files of one machine, whoever is lost.

The nodes are processes of this machine (`ray.cluster_utils`), each with its own raylet and
workers; they share the folder as a cluster's nodes share a file system.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from step_audio.core.errors import InputError
from step_audio.data import filter as sieve
from step_audio.data.cluster import RETRIES, Cluster, ClusterError
from step_audio.data.gates import ALL, with_bounds
from step_audio.data.pack import pack, read_samples, tokens
from step_audio.data.speak import speak, speak_on
from step_audio.data.write import Exchange, write
from step_audio.dialog.prompting.prompt import PromptBuilder
from tests.cluster import work
from tests.data.sounds import ToneReader, gate
from tests.fakes import VOCAB, ByteTokenizer, CountingTokenizer
from tests.vllm_server.process import free_port

ray: Any = pytest.importorskip("ray", reason="needs the extra ray: make test-ray")
nodes: Any = pytest.importorskip("ray.cluster_utils", reason="needs the extra ray: make test-ray")

ROOT: Final = Path(__file__).parents[2]
TEXTS: Final = [
    *(Exchange(f"say number {n} to me", f"This is number {n}.") for n in range(10)),
    Exchange("say it", "That is unsayable."),
]
ATTEMPTS: Final = 3
"""To start the nodes: a node gives its agents 15 s, which no setting changes."""
BOUNDS: Final = with_bounds(ALL, ["error_rate<=1"])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # What Ray raises about its own sockets and processes is not ours to mend.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def node() -> dict[str, Any]:
    """Return the settings of a node: loopback, and ports that it need not wait to be told."""
    ports = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
    found = {name: free_port() for name in (*ports, "dashboard_agent_listen_port")}
    return {"node_ip_address": "127.0.0.1", "include_dashboard": False, **found}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """Start a head without cores and two nodes of one core each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A busy machine takes longer to start a node's agents than a cluster may.
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        patch.setenv("RAY_health_check_timeout_ms", "120000")
        # Ray reads 127.0.0.1 as "this machine" and puts its address on the network there.
        patch.setattr("ray._private.services.get_node_ip_address", lambda *_, **__: "127.0.0.1")
        for attempt in range(ATTEMPTS):
            cluster = nodes.Cluster()
            try:
                cluster.add_node(num_cpus=0, **node())
                held = [cluster.add_node(num_cpus=1, **node()) for _ in range(2)]
                cluster.wait_for_nodes(300)
                break
            except Exception:  # Ray raises no narrower one
                cluster.shutdown()
                if attempt == ATTEMPTS - 1:
                    raise
        try:
            yield cluster, held
        finally:
            cluster.shutdown()


def packed(root: Path, tokenizer: Callable[[], Any], cluster: Cluster | None) -> None:
    """Encode and pack what passes."""
    passed = sieve.accepted(root, BOUNDS)
    groups = tokens(root, passed, tokenizer, "fake", cluster=cluster)
    samples = read_samples(root)
    pack(samples, groups, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, root / "pack")


def files(root: Path) -> dict[str, bytes]:
    """Return what a data set holds, but for the markers of the dead."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*")}
    return {name: data for name, data in found.items() if not name.startswith("died.")}


def test_the_shards_are_those_of_one_machine_though_processes_and_a_node_are_lost(
    two_nodes: Any, tmp_path: Path
) -> None:
    cluster, held = two_nodes
    alone, together = tmp_path / "alone", tmp_path / "together"
    for root in (alone, together):
        root.mkdir()
        write(root, TEXTS)
    speak(alone, ToneReader(), workers=1)
    sieve.measure(alone, gate)
    packed(alone, CountingTokenizer, None)

    with Cluster(cluster.address, shard=3) as shared:
        reader = functools.partial(work.MortalReader, together / "died.reader")
        assert speak_on(together, shared, reader) == (21, 1)
        measure = functools.partial(work.mortal_gate, together / "died.gate")
        assert sieve.measure(together, measure, cluster=shared) == 21
        # A whole node goes; the other one does what is left.
        cluster.remove_node(held.pop())
        packed(together, functools.partial(work.mortal_tokenizer, together / "died.ear"), shared)
    assert sorted(path.name for path in together.glob("died.*")) == [
        "died.ear",
        "died.gate",
        "died.reader",
    ]
    wanted, got = files(alone), files(together)
    assert got.keys() == wanted.keys()
    assert [name for name in wanted if got[name] != wanted[name]] == []
    assert "pack/tokens-0000.safetensors" in got

    # Run again, nothing is left to do: no process is asked.
    with Cluster(cluster.address) as shared:
        assert speak_on(together, shared, functools.partial(work.MortalReader, tmp_path)) == (0, 0)


def test_what_kills_every_process_ends_the_step_and_says_so(two_nodes: Any) -> None:
    cluster, _ = two_nodes
    with Cluster(cluster.address, shard=2) as shared:
        with pytest.raises(ClusterError, match=f"a shard was lost {RETRIES + 1} times"):
            list(shared.map(work.ends_its_process, [1, 2]))
        with pytest.raises(InputError, match="three is no job"):
            list(shared.map(work.refuses, [1, 2, 3, 4]))
        assert list(shared.map(work.refuses, [5, 6, 7])) == [5, 6, 7]


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        Cluster("127.0.0.1:1")
