"""Build the images as the Dockerfiles say, run them, and talk to nano in a container.

With a Docker daemon by Docker; else by Debian's buildah, which needs none (chroot isolation), on a
base that debootstrap makes and that bears the name the Dockerfile asks for.

Run: make test-docker    (as root for buildah; 15 GB of disk while it runs)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.talk import ask_aloud

ROOT = Path(__file__).parents[2]
TAG = "step-audio:test"
ENGINE_TAG = "step-audio-vllm:test"
CERTIFICATES = Path("/etc/ssl/certs")
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"


class Failure(Exception):
    """A step that must succeed did not."""


def run(*command: str, quiet: bool = False, timeout_s: float = 600) -> str:
    """Return what the command printed; its errors go to ours."""
    print("+", *command, file=sys.stderr, flush=True)
    stream = subprocess.DEVNULL if quiet else None
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stream, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise Failure(f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def show(*command: str, timeout_s: float = 3600) -> None:
    """Run a long command; all that it says goes to our errors as it comes."""
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=sys.stderr, timeout=timeout_s, check=False)
    if done.returncode:
        raise Failure(f"{command[0]} ended with {done.returncode}; see above")


class Docker:
    """A daemon is there."""

    def build(self, dockerfile: str, tag: str, arguments: dict[str, str]) -> None:
        given = [word for k, v in arguments.items() for word in ("--build-arg", f"{k}={v}")]
        show("docker", "build", "-f", f"docker/{dockerfile}", "-t", tag, *given, str(ROOT))

    def size_bytes(self, tag: str) -> int:
        return int(run("docker", "image", "inspect", "-f", "{{.Size}}", tag))

    def start(self, tag: str, command: Sequence[str], port: int) -> subprocess.Popen[str]:
        return _background(
            *("docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
            *("-p", f"127.0.0.1:{port}:8000", tag, *command),
        )

    def once(self, tag: str, command: Sequence[str]) -> str:
        return run("docker", "run", "--rm", tag, *command)

    def clean(self, *, keep: bool) -> None:
        if not keep:
            run("docker", "image", "rm", "-f", TAG, ENGINE_TAG, quiet=True)


class Buildah:
    """No daemon: images are built and run in a chroot, kept below `work`."""

    def __init__(self, work: Path) -> None:
        missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
        if missing:
            raise Failure(f"install {' and '.join(missing)}: apt install {' '.join(missing)}")
        if os.geteuid() != 0:
            raise Failure("buildah without a daemon needs root here; or start a Docker daemon")
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        (work / "tmp").mkdir(exist_ok=True)
        # Layers are kept by overlay where the kernel allows it, else as whole copies (vfs).
        os.environ |= {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(work / "tmp")}
        self._base = ["--root", str(work / "storage"), "--runroot", str(work / "run")]

    def command(self, *words: str) -> list[str]:
        """Return the words of a command of buildah."""
        return ["buildah", *self._base, *words]

    def buildah(self, *words: str, quiet: bool = False) -> str:
        """Run a command of buildah and return what it printed."""
        return run(*self.command(*words), quiet=quiet)

    def base(self, name: str, packages: str = PACKAGES) -> None:
        """Make the image `name`: Debian's smallest with Python, or with other packages."""
        if self.buildah("images", "-q", "--filter", f"reference={name}", quiet=True).strip():
            return
        tree = self.work / "base"
        shutil.rmtree(tree, ignore_errors=True)
        show("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(tree))
        shutil.rmtree(tree / "var/cache/apt", ignore_errors=True)
        container = self.buildah("from", "scratch").strip()
        self.buildah("add", "-q", container, str(tree), "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
        self.buildah("commit", "-q", "--rm", container, name)
        shutil.rmtree(tree, ignore_errors=True)

    def build(self, dockerfile: str, tag: str, arguments: dict[str, str]) -> None:
        text = (ROOT / "docker" / dockerfile).read_text()
        base = re.search(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
        if base:
            self.base(base[1])
        given = [word for k, v in arguments.items() for word in ("--build-arg", f"{k}={v}")]
        mounts = [word for v in self.mounts() for word in ("-v", v)]
        show(
            *(
                "buildah",
                *self._base,
                "bud",
                "--pull=never",
                "-f",
                str(ROOT / "docker" / dockerfile),
            ),
            *("-t", tag, *given, *mounts, str(ROOT)),
        )
        self._drop_unnamed()

    def mounts(self) -> list[str]:
        """The host's certificates, its wheels and how it reaches the package index."""
        settings = self.work / "pip.conf"
        settings.write_text(
            f"[global]\ncert = {CERTIFICATES}/ca-certificates.crt\ncache-dir = /var/cache/pip\n"
        )
        mounts = [f"{CERTIFICATES}:{CERTIFICATES}:ro", f"{settings}:/etc/pip.conf:ro"]
        cache = Path.home() / ".cache" / "pip"
        if cache.is_dir():
            mounts.append(f"{cache}:/var/cache/pip")
        return mounts

    def _drop_unnamed(self) -> None:
        for image in self.buildah("images", "-q", "--filter", "dangling=true").split():
            self.buildah("rmi", "-f", image)

    def size_bytes(self, tag: str) -> int:
        number, unit = self.buildah("images", "--format", "{{.Size}}", tag).split()
        return round(float(number) * {"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])

    def start(self, tag: str, command: Sequence[str], port: int) -> subprocess.Popen[str]:
        container = self.buildah("from", "--pull=never", tag).strip()
        # Host network in a chroot: the server listens where the test looks.
        return _background(
            *("buildah", *self._base, "run", "--env", f"STEP_AUDIO__SERVER__PORT={port}"),
            *("--env", "STEP_AUDIO__SERVER__HOST=127.0.0.1", container, "--"),
            *("step-audio", *command),
        )

    def once(self, tag: str, command: Sequence[str]) -> str:
        container = self.buildah("from", "--pull=never", tag).strip()
        try:
            return self.buildah("run", container, "--", *self._entry(tag), *command)
        finally:
            self.buildah("rm", container, quiet=True)

    def _entry(self, tag: str) -> list[str]:
        config = json.loads(self.buildah("inspect", "--type", "image", tag))
        entry: list[str] = config["OCIv1"]["config"].get("Entrypoint", [])
        return entry

    def clean(self, *, keep: bool) -> None:
        """Remove what ran and what a failed build left; without `keep` the images too."""
        self.buildah("rm", "-a", quiet=True)
        if keep:
            self._drop_unnamed()
        else:
            self.buildah("rmi", "-f", "-a", quiet=True)
            shutil.rmtree(self.work, ignore_errors=True)


def _background(*command: str) -> subprocess.Popen[str]:
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.Popen(command, text=True, start_new_session=True)


def _wait_ready(server: subprocess.Popen[str], port: int, timeout_s: float = 240) -> float:
    """Return the seconds until /readyz said yes."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if server.poll() is not None:
            raise Failure(f"the container ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return time.monotonic() - began
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise Failure(f"the server in the container was not ready within {timeout_s:g} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Build, run, ask, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "images")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--keep", action="store_true", help="leave images for a next run")
    args = parser.parse_args(argv)
    daemon = shutil.which("docker") and not subprocess.call(
        ("docker", "info"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server: subprocess.Popen[str] | None = None
    images: Docker | Buildah | None = None
    try:
        images = Docker() if daemon else Buildah(args.work.resolve())
        index = {"TORCH_INDEX": os.environ["TORCH_INDEX"]} if "TORCH_INDEX" in os.environ else {}
        images.build("server.Dockerfile", TAG, {"VARIANT": "cpu", **index})
        who = images.once(TAG, ["doctor"]) if daemon else _as_whom(images)
        server = images.start(TAG, ["serve", "--profile", "nano"], args.port)
        ready_s = _wait_ready(server, args.port)
        answer = ask_aloud(f"127.0.0.1:{args.port}")
        _stop(server)
        server = None
        # The image of vLLM is upstream's; ours stands in for it to try what is added.
        images.build("vllm.Dockerfile", ENGINE_TAG, {"VLLM_IMAGE": TAG})
        flags = images.once(ENGINE_TAG, ["--profile", "nano", "--dry-run"])
        if "vllm serve" not in flags:
            raise Failure(f"the engine image does not print its command: {flags}")
        print(
            json.dumps(
                {
                    "images": "docker" if daemon else "buildah",
                    "size_mb": round(images.size_bytes(TAG) / 1e6),
                    "ready_s": round(ready_s, 1),
                    "user": who.strip()[-80:],
                    **answer,
                }
            )
        )
    except Failure as failure:
        print(f"test-docker: {failure}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            _stop(server)
        if images is not None:
            images.clean(keep=args.keep)
    print("1 passed, 0 failed")
    return 0


def _as_whom(images: Docker | Buildah) -> str:
    """Return who the server runs as, after seeing that the image is closed to them."""
    assert isinstance(images, Buildah)
    container = images.buildah("from", "--pull=never", TAG).strip()
    try:
        said = images.buildah(
            *("run", container, "--", "sh", "-c"),
            "id -u; touch /opt/step-audio/x 2>/dev/null && echo open; touch /data/x && echo data",
        ).split()
    finally:
        images.buildah("rm", container, quiet=True)
    if said[0] == "0" or "open" in said:
        raise Failure(f"the container's user may write to the image: {said}")
    return f"uid {said[0]}, " + ("/data writable" if "data" in said else "/data closed")


def _stop(server: subprocess.Popen[str]) -> None:
    """End what we started, by its own process group."""
    os.killpg(server.pid, 15)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, 9)
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
