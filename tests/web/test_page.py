"""The page without a browser: its parts fit together, its worklets do their sums."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from server.app import WEB
from step_audio.core.resampling import resample
from step_audio.voices.library import is_a_name
from tests.web.node import HARNESS, NODE, needs_node, run_js


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


def test_the_page_has_its_stable_ids() -> None:
    stable = {"start", "stop", "mute", "text-input", "voice", "status", "conversation"}
    assert stable <= page().ids


def test_every_element_that_the_script_asks_for_exists() -> None:
    for script in WEB.glob("*.js"):
        asked = re.findall(r'\$\("([\w-]+)"\)', script.read_text(encoding="utf-8"))
        assert set(asked) <= page().ids, script.name


def test_the_page_obeys_its_own_content_policy() -> None:
    assert page().forbidden == []
    files = [name for name in page().references if name != "/docs"]  # a page of the server
    assert all((WEB / name).is_file() for name in files)


@needs_node
def test_the_page_takes_the_names_of_voices_that_the_server_takes() -> None:
    found = re.search(r'id="voice-name"[^>]* pattern="([^"]+)"', (WEB / "index.html").read_text())
    assert found
    names = ["Anna", "bad name", "安娜", "o'hara", "x/y", "ä", "..", "/etc", "-x", ".h", " "]
    script = f"""
        const pattern = new RegExp(`^(?:${{{json.dumps(found[1])}}})$`, "v");  // as in browsers
        console.log(JSON.stringify({json.dumps(names)}.map((name) => pattern.test(name))));
    """
    taken = dict(zip(names, run_js(script), strict=True))
    assert taken == {name: is_a_name(name) for name in names}


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
    sent = [message for message in sent if message[0] != "voice"]
    assert sum(length for _, length in sent) == 75 * 128 // 2  # 48 kHz to 24 kHz
    assert sent[0] == ["pcm", 480]


@needs_node
def test_a_voice_tells_the_speakers_until_it_was_noise_too_often() -> None:
    heard = run_js(f"""
        {HARNESS}
        await import("./capture.worklet.js");
        const node = new Kind();
        const told = [];
        const port = {{ postMessage: (data) => told.push(data.type) }};
        node.command({{ type: "speakers", port }});
        node.command({{ type: "start" }});
        const hear = (level, ms) => {{
          for (let at = 0; at < ms; at += 128 / 48) {{
            node.process([[Float32Array.from({{ length: 128 }}, (_, n) => level * Math.sin(n))]]);
          }}
        }};
        const counts = [];
        for (let n = 0; n < 3; n++) {{
          hear(0.04, 200);
          hear(0, 400);
          node.command({{ type: "trust", speech: false }}); // an echo
          counts.push(told.length);
        }}
        hear(0.5, 200);
        counts.push(told.length);
        node.command({{ type: "trust", speech: true }});
        hear(0, 400);
        hear(0.04, 200);
        console.log(JSON.stringify([...counts, told.length]));
    """)
    assert heard == [1, 2, 2, 3, 4]


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
        const pcm = (ms) => new Int16Array(24 * ms).fill(16000);
        const sound = (id, ms) => node.command({{ type: "pcm", id, pcm: pcm(ms) }});
        sound("a", 50);
        const early = loud();
        sound("a", 100);
        node.command({{ type: "end", id: "a" }});
        let last = 0, biggest = 0;
        for (let n = 0; n < 100; n++) for (const s of pull()) {{
          biggest = Math.max(biggest, Math.abs(s - last));
          last = s;
        }}
        const end = node.port.sent.filter((m) => m.type === "finished");
        for (let n = 0; n < 4; n++) sound("b", 100);
        for (let n = 0; n < 30; n++) pull();
        node.command({{ type: "hold", on: true }});
        for (let n = 0; n < 30; n++) pull();
        const held = !loud();
        node.command({{ type: "hold", on: false }});
        const resumed = [1, 2, 3].some(() => loud());
        node.command({{ type: "clear" }});
        const flushed = node.port.sent.at(-1);
        for (let n = 0; n < 4; n++) pull();
        const cleared = !loud();
        console.log(JSON.stringify({{ early, biggest, end, held, resumed, flushed, cleared }}));
    """)
    assert not got["early"]
    assert [(message["id"], message["playedMs"]) for message in got["end"]] == [("a", 150)]
    assert got["biggest"] < 0.02  # faded at both edges, so it does not click
    assert got["held"]
    assert got["resumed"]
    assert got["flushed"]["type"] == "flushed"
    heard = got["flushed"]["heard"][0]
    assert heard["id"] == "b"
    # 30 quanta of 128 at 48 kHz are 80 ms; a fade out of 4 ms, and up to 3 quanta after it.
    assert 80 <= heard["playedMs"] <= 80 + 4 + 8 + 3
    assert got["cleared"]


# A network and a sound card: pieces come at their times, the card takes 10 ms at once. Returns the
# gaps and for how long the first piece waited.
NETWORK = f"""
{HARNESS}
const {{ LEAST_MS, START_MS }} = await import("./jitter.js");
await import("./playback.worklet.js");
const listen = (node, times, pieceMs, id = "a") => {{
  const lasts = times.at(-1) + pieceMs + 1000;
  let came = 0, pulled = 0, begun = 0;
  for (let ms = 0; ms < lasts; ms += 10) {{
    for (; came < times.length && times[came] <= ms; came++) {{
      node.command({{ type: "pcm", id, pcm: new Int16Array(24 * pieceMs).fill(9000) }});
    }}
    for (; pulled < 48 * ms; pulled += 128) node.process([], [[new Float32Array(128)]]);
    if (node.playing) begun ||= ms;
  }}
  node.command({{ type: "end", id }});
  node.process([], [[new Float32Array(128)]]);
  return [node.jitter.gaps, begun - times[0]];
}};
"""


@needs_node
@pytest.mark.parametrize("piece_ms", [20, 60, 120, 200])
@pytest.mark.parametrize("target", ["START_MS", "LEAST_MS"])
def test_50_ms_of_jitter_make_no_gap_and_cost_no_more_than_they_must(
    piece_ms: int, target: str
) -> None:
    rng, count = np.random.default_rng(piece_ms), 6000 // piece_ms
    runs = [  # of a server that speaks in real time; what is late delays what is behind it
        np.maximum.accumulate(piece_ms * np.arange(count) + rng.uniform(0, 50, count)).tolist()
        for _ in range(12)
    ]
    got = run_js(f"""
        {NETWORK}
        const seen = [];
        for (const times of {json.dumps(runs)}) {{
          const node = new Kind();
          node.jitter.targetMs = {target};
          listen(node, times, {piece_ms});
          seen.push(listen(node, times, {piece_ms}, "b")); // learning makes it no bolder
        }}
        console.log(JSON.stringify(seen));
    """)
    assert [gaps for gaps, _ in got] == [0] * 12
    assert max(waited_ms for _, waited_ms in got) <= 80 + 20  # and what the card takes at once


@needs_node
def test_a_server_that_speaks_faster_than_it_is_heard_is_not_waited_for() -> None:
    got = run_js(f"""
        {NETWORK}
        const made = (factor) => Array.from({{ length: 20 }}, (_, n) => 200 * factor * n);
        const seen = [0, 0.25, 0.45].map((factor) => {{
          const node = new Kind();
          return ["a", "b"].map((id) => listen(node, made(factor), 200, id));
        }});
        console.log(JSON.stringify(seen));
    """)
    # A second piece after 50 ms ends the wait of the first answer; after 90 ms it comes too late
    # for that. From then on it is known that there is no need.
    assert got == [[[0, 10], [0, 10]], [[0, 50], [0, 10]], [[0, 90], [0, 10]]]


@needs_node
def test_one_stall_teaches_the_buffer_to_bridge_the_next() -> None:
    got = run_js(f"""
        {NETWORK}
        const stalled = Array.from({{ length: 150 }}, (_, n) => 20 * n)
          .map((ms) => (ms > 1000 && ms < 1250 ? 1250 : ms > 2000 && ms < 2250 ? 2250 : ms));
        const node = new Kind();
        const [gaps] = listen(node, stalled, 20);
        console.log(JSON.stringify([gaps, node.jitter.targetMs]));
    """)
    assert got[0] == 1
    assert 200 <= got[1] <= 300


@needs_node
def test_the_buffer_grows_after_a_gap_and_shrinks_in_calm() -> None:
    got = run_js("""
        const { JitterBuffer } = await import("./jitter.js");
        const buffer = new JitterBuffer();
        const queue = { waitedMs: 0, bufferedMs: 199, longestMs: 120, complete: false };
        const may = (more) => buffer.mayStart({ ...queue, ...more });
        const seen = [may({}), may({ bufferedMs: 200 }), may({ waitedMs: 80 })];
        const grown = [30, 100, 5000].map((ms) => {
          buffer.starved(ms);
          return buffer.targetMs;
        });
        seen.push(may({ waitedMs: 80 }), may({ complete: true }));
        seen.push(may({ complete: true, bufferedMs: 0 }), buffer.gaps);
        for (let n = 0; n < 1000; n++) buffer.starved(100);
        const most = buffer.targetMs;
        for (let n = 0; n < 100; n++) buffer.played(8000);
        console.log(JSON.stringify([seen, grown, most, buffer.targetMs]));
    """)
    assert got == [[False, True, True, False, True, False, 3], [120, 220, 330], 400, 65]


@needs_node
def test_the_spectrogram_finds_a_tone() -> None:
    got = run_js("""
        const { magnitudes } = await import("./spectrum.js");
        const turn = (2 * Math.PI * 40) / 512;
        const tone = Float32Array.from({ length: 512 }, (_, n) => Math.cos(turn * n));
        const found = magnitudes(tone, 0);
        console.log(JSON.stringify([found.indexOf(Math.max(...found)), found[40]]));
    """)
    assert got == [40, pytest.approx(128, rel=1e-3)]  # half of 512, halved by the Hann window


@needs_node
def test_the_manner_of_a_sound_is_its_pitch_and_its_level() -> None:
    hz, db, facts = run_js("""
        const { traces, facts } = await import("./manner.js");
        const rate = 24000;
        const glide = Float32Array.from({ length: 2 * rate }, (_, n) => {
          const turn = 2 * Math.PI * (110 * (n / rate) + 27.5 * (n / rate) ** 2); // 110 to 220 Hz
          const wave = [1, 2, 3, 4].reduce((sum, k) => sum + Math.sin(k * turn) / k, 0) / 4;
          return n < rate ? wave : wave / 2;
        });
        const quiet = new Float32Array(rate / 2);
        const found = traces(Float32Array.from([...glide, ...quiet]), rate);
        console.log(JSON.stringify([[...found.hz], [...found.db], facts(found)]));
    """)
    assert len(hz) == len(db) == 250
    wanted = 110 + 55 * (np.arange(190) * 0.01 + 0.03)
    np.testing.assert_allclose(hz[:190], wanted, rtol=0.03)
    assert not any(hz[205:])  # silence has no pitch
    assert np.mean(db[20:80]) - np.mean(db[120:180]) == pytest.approx(6, abs=0.3)
    assert facts["seconds"] == pytest.approx(2.5)
    assert 140 < facts["hz"] < 175
    assert 2.5 < facts["semitones"] < 4.5


@needs_node
def test_noise_has_no_pitch() -> None:
    share = run_js("""
        const { traces } = await import("./manner.js");
        let seed = 1;
        const noise = Float32Array.from({ length: 24000 }, () => {
          seed = (seed * 48271) % 2147483647;
          return seed / 2147483647 - 0.5;
        });
        const { hz } = traces(noise, 24000);
        console.log(JSON.stringify(hz.filter((one) => one).length / hz.length));
    """)
    assert share < 0.1


@needs_node
def test_two_readings_are_kept_as_long_as_the_text_is_the_same() -> None:
    got = run_js("""
        const { Readings } = await import("./manner.js");
        const readings = new Readings();
        const kept = [];
        const add = (text, style) => {
          readings.add(text, style, { hz: new Float32Array(), db: new Float32Array() });
          kept.push(readings.kept.map(({ name }) => name));
        };
        add("Hello.", "plain");
        add("Hello.", "plain");
        add("(sad 2) Hello.", "plain");
        add("Hello.", "happy");
        add("Goodbye.", "happy");
        console.log(JSON.stringify(kept));
    """)
    assert got == [
        ["plain"],
        ["plain"],
        ["plain", "(sad 2) plain"],
        ["(sad 2) plain", "happy"],
        ["happy"],
    ]
