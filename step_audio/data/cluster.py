"""The heavy steps of a data set on the nodes of a Ray cluster: shards as tasks.

A task is a shard of jobs, and a process makes what works on them (models) once. Ray runs a
task again, on another process or node, when the one it ran on is lost; sounds have names that
follow from their content, so doing a shard twice leaves the same files. Results come in the order
of the jobs, so every manifest is the one that a single machine writes.

Every node has this package with the same weights, and the data set at the same path, as a
file system that the nodes share gives it. `ray` is imported when a cluster is opened.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from step_audio.core.errors import InputError, StepAudioError

Job = TypeVar("Job")
Result = TypeVar("Result")

MakeWork = Callable[[], Callable[[Job], Result]]
"""Builds what does one job, in the process that will do it. Must be picklable."""

RETRIES: Final = 5
"""Times that a shard is run again after its process or node was lost."""
AHEAD: Final = 4
"""Shards that wait or run for each core of the cluster."""


class ClusterError(StepAudioError):
    """The cluster cannot be reached, or lost one shard again and again."""

    code = "cluster_failed"


class Cluster:
    """An open connection to a Ray cluster; closing it leaves the cluster running.

    Args:
        address: of the head, such as "10.0.0.1:6379" or "ray://10.0.0.1:10001"; "auto": the one
            of this machine.
        shard: jobs of a task.

    Raises:
        InputError: `ray` is not installed.
        ClusterError: nobody answers at that address.
    """

    def __init__(self, address: str, shard: int = 16) -> None:
        try:
            import ray  # noqa: PLC0415
        except ImportError:
            raise InputError("--ray needs the extra ray: pip install 'step-audio[ray]'") from None
        self._ray, self._shard = ray, shard
        _answers(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(f"no Ray cluster at {address}: {reason}") from None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ray.shutdown()

    def map(self, make: MakeWork[Job, Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the result of each job, in their order, as soon as it and those before are done.

        Raises:
            ClusterError: a shard was lost `RETRIES` times, or every node was.
            StepAudioError: what a job raised.
        """
        task: Any = self._ray.remote(max_retries=RETRIES, scheduling_strategy="SPREAD")(_do)
        made = self._ray.put(make)
        shards = [jobs[at : at + self._shard] for at in range(0, len(jobs), self._shard)]
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        running: deque[Any] = deque()
        for shard in shards:
            running.append(task.remote(made, list(shard)))
            if len(running) >= AHEAD * cores:
                yield from self._done(running.popleft())
        while running:
            yield from self._done(running.popleft())

    def _done(self, task: Any) -> list[Any]:
        errors = self._ray.exceptions
        try:
            results: list[Any] = self._ray.get(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, StepAudioError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(
                f"a shard was lost {RETRIES + 1} times: {reason}; run the step again to go on"
            ) from None
        return results


def _answers(address: str) -> None:
    """Raise ClusterError unless somebody listens at HOST:PORT: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {error}") from None


_works: dict[bytes, Callable[[Any], Any]] = {}
"""What this process has made, by the pickled maker."""


def _do(make: Callable[[], Callable[[Any], Any]], jobs: list[Any]) -> list[Any]:
    """Do one shard; runs in a process of the cluster."""
    import pickle  # noqa: PLC0415 - of what Ray has unpickled just now

    key = pickle.dumps(make)
    if key not in _works:
        _works[key] = make()
    return [_works[key](job) for job in jobs]
