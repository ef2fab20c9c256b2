"""Deployment files judged by the programs that will read them.

Dockerfiles by hadolint, compose files by Docker where it is at hand, manifests of Kubernetes by its
schemas, the configuration of the proxy by nginx.

Run: make test-docker, or python -m tests.docker.lint with `hadolint` and `kubernetes-validate` on
the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCKER: Final = ROOT / "docker"
TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
"""What nginx keeps on disk for a while."""
GIVEN: Final = {"MODELS": "/models", "STEP_AUDIO_KEY": "given"}
"""What compose files ask of whoever starts them."""


def main() -> int:
    """Print what is wrong; 1 when something is."""
    wrong = 0
    if shutil.which("hadolint") is None:
        print("no hadolint on the path: make test-docker installs it", file=sys.stderr)
        return 1
    for path in sorted(DOCKER.glob("*.Dockerfile")):
        wrong += _fails("hadolint", "--no-color", str(path))
    client = _compose()
    for path in sorted(DOCKER.glob("compose*.yaml")) if client else ():
        wrong += _fails(*client, "-f", str(path), "config", "--quiet")
    manifests = [
        p for p in sorted((DOCKER / "kubernetes").glob("*.yaml")) if p.stem != "kustomization"
    ]
    wrong += _fails("kubernetes-validate", "--quiet", "--strict", *map(str, manifests))
    nginx = _nginx()
    wrong += _nginx_fails(nginx) if nginx else 0
    proxy = "nginx -t" if nginx else "not checked, no Debian mirror here"
    said = "config" if client else "config not checked, no client here"
    print(
        f"Dockerfiles: hadolint; compose files: {said}; manifests: schemas; "
        f"proxy: {proxy}; {wrong} wrong"
    )
    return 1 if wrong else 0


def _compose() -> tuple[str, ...]:
    """Return the words that start compose; none where it is not installed, or the old one."""
    for words in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(words[0]):
            told = [*words, "version", "--short"]
            said = subprocess.run(told, capture_output=True, text=True, check=False)
            # Version 1 does not know `name:`, nor how to start what these files say.
            if said.returncode == 0 and not said.stdout.lstrip("v").startswith("1."):
                return words
    return ()


def _nginx() -> tuple[str, ...]:
    """Return the words that start a current nginx, none where it cannot be fetched."""
    root = ROOT / "build" / "nginx" / "root"
    program = root / "usr" / "sbin" / "nginx"
    fetch = [str(Path(__file__).with_name("fetch_nginx")), str(root.parent)]
    if not program.exists() and subprocess.run(fetch, check=False).returncode:
        return ()
    (loader,) = root.glob("usr/lib*/ld-linux-*")
    return (
        str(loader),
        "--library-path",
        str(next(root.glob("usr/lib/*-linux-gnu"))),
        str(program),
    )


def _nginx_fails(nginx: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(
            f"pid {folder}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n"
            + "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
            + f"  include {DOCKER}/proxy/gateway.conf;\n}}\n"
        )
        if not os.getuid():
            conf.write_text("user root;\n" + conf.read_text())
        return _fails(*nginx, "-t", "-q", "-p", folder, "-e", "stderr", "-c", str(conf))


def _fails(*command: str) -> bool:
    return bool(subprocess.run(command, env={**os.environ, **GIVEN}, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
