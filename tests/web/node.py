"""The page's modules in node, without a browser or a clock; and programs that answer in lines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

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


# As much of a document as the page's parts touch without showing anything.
DOM = """
const made = () => {
  const node = {
    children: [], style: { setProperty() {} }, dataset: {}, textContent: "", attributes: {},
    classList: { toggle(name, on) { node[name] = on; } },
    append(...more) { node.children.push(...more); },
    addEventListener() {}, remove() {},
    setAttribute(name, value) { node.attributes[name] = value; },
    removeAttribute(name) { delete node.attributes[name]; },
  };
  return node;
};
const nodes = new Map();
globalThis.document = {
  body: { dataset: {} },
  createElement: made,
  getElementById: (id) => nodes.get(id) ?? nodes.set(id, made()).get(id),
};
globalThis.location = { hash: "" };
const store = new Map();
globalThis.sessionStorage = {
  getItem: (key) => store.get(key) ?? null, setItem: (key, value) => store.set(key, value),
};
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


class SessionRegistry:
    """A program that answers each line of JSON with one; what it complains of is left to see."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, {**os.environ, **environment}

    def __enter__(self) -> Self:
        self._program = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._program.communicate(timeout=20)  # the end of its input is its end
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.communicate()

    def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; the caller's own limit of time is the only one."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(line) + "\n")
        self._program.stdin.flush()
        answer = self._program.stdout.readline()
        assert answer, "the program ended"
        found: dict[str, Any] = json.loads(answer)
        return found
