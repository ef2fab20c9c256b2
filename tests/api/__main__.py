"""Every operation of /openapi.json, asked with what schemathesis makes up. Run: make test-api

No answer may be a server's error, have an undocumented status or type, or not fit its schema. The
server is the real one on loopback around a scripted engine, since thousands of requests are made;
`--real` puts nano behind it, for a few.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace

from step_audio.core.config import load_profile
from step_audio.runtime import Runtime
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving
from tests.server.test_voices import MemoryLibrary

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def server(*, real: bool) -> AbstractContextManager[int]:
    """Return a server that yields its port."""
    if real:
        parts = Runtime(load_profile("nano"))
        return serving(parts.services(), parts.settings())
    library = MemoryLibrary()
    script = [6, *text_ids("what i said"), 7, *text_ids("Hi."), *VOCAB.ids([group(1)] * 3)]
    fakes = services(ScriptedEngine([script]))
    return serving(replace(fakes, voices=library, voice_library=library))


def main() -> int:
    """Run schemathesis and return its exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--schemathesis", required=True, help="its program")
    options.add_argument("--examples", type=int, default=50, help="of each operation (50)")
    options.add_argument("--real", action="store_true", help="nano behind the server")
    args = options.parse_args()
    with server(real=args.real) as port:
        command = [args.schemathesis, "run", f"http://127.0.0.1:{port}/openapi.json"]
        command += ["--checks", ",".join(CHECKS), "--seed", "1", "--phases"]
        command += ["fuzzing" if args.real else "examples,coverage,fuzzing"]
        command += ["--max-examples", str(args.examples), "--suppress-health-check", "all"]
        return subprocess.run(command, check=False, timeout=3600).returncode


if __name__ == "__main__":
    sys.exit(main())
