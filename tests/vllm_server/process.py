"""A real `vllm serve` on the CPU, started by `step-audio engine`, as long as a test needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
VLLM = ROOT / "build" / "vllm" / "bin" / "vllm"
START_S = 900.0


class VllmProcess:
    """One server of one folder; the same port again after a restart."""

    def __init__(
        self,
        folder: Path,
        profile: Path,
        log: Path,
        tensor_parallel: int = 1,
        *,
        program: Path = VLLM,
    ) -> None:
        """Prepare; a `program` other than `VLLM` is a CUDA build and serves on the GPU."""
        self._folder, self._profile, self._log = folder, profile, log
        self._program = program
        self._tensor_parallel = tensor_parallel
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError: it ended, or took too long."""
        cores = sorted(os.sched_getaffinity(0))[: self._tensor_parallel]
        environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "step_audio", "engine", "--vllm", str(self._program)]
        if self._program == VLLM:
            command.append("--cpu")
            environ |= {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                # Automatic binding fails on machines with one memory node.
                "VLLM_CPU_OMP_THREADS_BIND": "|".join(map(str, cores)) if cores[1:] else "auto",
                # The sampler would be compiled at every start: half a minute for a test.
                "TORCHDYNAMO_DISABLE": "1",
            }
        else:
            command += ["--memory", "0.2"]
        command += ["--profile", str(self._profile), "--weights", str(self._folder)]
        command += ["--port", str(self.port), "--tp", str(self._tensor_parallel)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"vLLM did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.5)

    def kill(self) -> None:
        """End the server and its workers at once."""
        if self._process is not None:
            # It leads a session of its own: only what we started is in that group.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def metric(self, name: str) -> float:
        """Return one of its figures."""
        lines = httpx.get(f"{self.url}/metrics", timeout=10).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
