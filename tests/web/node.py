"""The page's modules in node: no browser, no clock."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from server.app import WEB

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")

HARNESS = """
globalThis.sampleRate = 48000;
globalThis.AudioWorkletProcessor = class {
  constructor() { this.port = { sent: [], postMessage(data) { this.sent.push(data); } }; }
};
globalThis.registerProcessor = (name, kind) => { globalThis.Kind = kind; };
"""


def run_js(code: str) -> Any:
    """Run a module in node next to the page's files and return what it prints as JSON."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", code],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
