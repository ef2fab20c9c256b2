"""The page without a browser: its parts fit together, its worklets do their sums."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.app import WEB
from step_audio.core.audio import resample
from step_audio.dialog.packing import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")

HARNESS = """
globalThis.sampleRate = 48000;
globalThis.AudioWorkletProcessor = class {
  constructor() { this.port = { sent: [], postMessage(data) { this.sent.push(data); } }; }
};
globalThis.registerProcessor = (name, kind) => { globalThis.Kind = kind; };
"""


class Page(HTMLParser):
    """Collects ids, references, and whatever a strict content policy would forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.references: list[str] = []
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found["id"] or ""} if "id" in found else set()
        self.references += [found[name] or "" for name in ("src", "href") if name in found]
        self.forbidden += [name for name in found if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.forbidden.append(tag)


def page() -> Page:
    parsed = Page()
    parsed.feed((WEB / "index.html").read_text(encoding="utf-8"))
    return parsed


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


def test_the_page_has_its_stable_ids() -> None:
    stable = {"start", "stop", "mute", "text-input", "voice", "status", "conversation"}
    assert stable <= page().ids


def test_every_element_that_the_script_asks_for_exists() -> None:
    script = (WEB / "main.js").read_text(encoding="utf-8")
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= page().ids


def test_the_page_obeys_its_own_content_policy() -> None:
    assert page().forbidden == []
    assert all((WEB / name).is_file() for name in page().references)


@needs_node
@pytest.mark.parametrize("script", sorted(WEB.glob("*.js")), ids=lambda p: p.name)
def test_every_script_parses(script: Path) -> None:
    assert NODE is not None
    copy = ["--input-type=module", "--check"]
    source = script.read_text(encoding="utf-8")
    subprocess.run([NODE, *copy, "-"], input=source, text=True, check=True, timeout=60)


@needs_node
@pytest.mark.parametrize(("from_hz", "to_hz"), [(48000, 24000), (44100, 24000), (24000, 44100)])
def test_the_browser_resamples_as_the_server_does(from_hz: int, to_hz: int) -> None:
    wave = 0.5 * np.sin(np.arange(1500) / 9)
    want = resample(wave.astype(np.float32), from_hz, to_hz)
    got = run_js(f"""
        const {{ Resampler }} = await import("./resample.js");
        const stage = new Resampler({from_hz}, {to_hz});
        const input = Float32Array.from({{ length: 1500 }}, (_, n) => Math.sin(n / 9) / 2);
        const out = [];
        for (let at = 0; at < 1500; at += 128) out.push(...stage.push(input.slice(at, at + 128)));
        console.log(JSON.stringify([...out, ...stage.flush()]));
    """)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@needs_node
def test_capture_sends_every_sample_before_it_says_that_it_ended() -> None:
    sent = run_js(f"""
        {HARNESS}
        await import("./capture.worklet.js");
        const node = new Kind();
        node.process([[new Float32Array(128).fill(0.5)]]); // before start: not recorded
        node.command({{ type: "start" }});
        for (let n = 0; n < 75; n++) node.process([[new Float32Array(128).fill(0.5)]]);
        node.command({{ type: "stop" }});
        console.log(JSON.stringify(node.port.sent.map((m) => [m.type, m.pcm?.length ?? 0])));
    """)
    assert sent[-1] == ["end", 0]
    assert sum(length for _, length in sent) == 75 * 128 // 2  # 48 kHz to 24 kHz
    assert sent[0] == ["pcm", 960]


@needs_node
def test_playback_waits_plays_everything_and_reports_what_was_heard() -> None:
    got = run_js(f"""
        {HARNESS}
        await import("./playback.worklet.js");
        const node = new Kind();
        const pull = () => {{
          const out = new Float32Array(128);
          node.process([], [[out]]);
          return out;
        }};
        const loud = () => pull().some((s) => Math.abs(s) > 0.01);
        node.command({{ type: "pcm", pcm: new Int16Array(1200).fill(16000) }}); // 50 ms
        const early = loud();
        node.command({{ type: "pcm", pcm: new Int16Array(2400).fill(16000) }}); // 150 ms in all
        node.command({{ type: "end" }});
        let last = 0, biggest = 0;
        for (let n = 0; n < 100; n++) for (const s of pull()) {{
          biggest = Math.max(biggest, Math.abs(s - last));
          last = s;
        }}
        const end = node.port.sent.filter((m) => m.type === "finished");
        node.command({{ type: "pcm", pcm: new Int16Array(9600).fill(16000) }});
        pull();
        node.command({{ type: "clear" }});
        console.log(JSON.stringify({{ early, biggest, end, cleared: !loud() }}));
    """)
    assert not got["early"]
    assert [message["playedMs"] for message in got["end"]] == [150]
    assert got["biggest"] < 0.02  # faded at both edges, so it does not click
    assert got["cleared"]


@needs_node
def test_a_typed_and_a_spoken_conversation_through_the_page() -> None:
    assert NODE is not None
    flag = "--experimental-websocket"  # what node 20 needs; later ones know it still
    probe = subprocess.run([NODE, flag, "-e", "new WebSocket"], capture_output=True, check=False)
    if b"bad option" in probe.stderr or b"not defined" in probe.stderr:
        pytest.skip("this node has no WebSocket")
    heard = [6, *text_ids("hello"), 7]
    answer = interleave(text_ids("Hi."), [group(1)] * 3, VOCAB)
    engine = ScriptedEngine([answer, [*heard, *answer]])
    with serving(services(engine)) as port:
        environment = {"PORT": str(port), "PAGE": (WEB / "main.js").as_uri()}
        done = subprocess.run(
            [NODE, flag, str(Path(__file__).with_name("browser.mjs"))],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["seen"] == ["fake", ["rms", "slt"], "Send"]
    assert got["said"] == [
        ["bubble user", "time?"],
        ["bubble assistant", "Hi."],
        ["bubble user", "hello"],
        ["bubble assistant", "Hi."],
    ]
    assert got["heard"] == 2 * 3 * 2880
