"""The page's socket, lost and found again."""

import pytest

from tests.web.node import needs_node, run_js

LINE = """
class FakeSocket {
  static OPEN = 1;
  static all = [];
  constructor(url, protocols) {
    Object.assign(this, { protocols, sent: [], readyState: 0 });
    FakeSocket.all.push(this);
  }
  open() { this.readyState = 1; this.onopen(); }
  tell(event) { this.onmessage({ data: JSON.stringify(event) }); }
  lose(code = 1006) { this.readyState = 3; this.onclose({ code, reason: "" }); }
  send(text) { this.sent.push(JSON.parse(text).n ?? JSON.parse(text).type); }
  close(code) { this.lose(code); }
}
globalThis.WebSocket = FakeSocket;
const waits = [];
globalThis.setTimeout = (run) => waits.push(run);
let reachable = true;
globalThis.fetch = async () => { if (!reachable) throw new TypeError(); return { ok: true }; };
const { RealtimeClient } = await import("./realtime.js");
const client = new RealtimeClient("ws://x", null);
const heard = [];
for (const type of ["session.created", "session.resumed", "a", "close"]) {
  client.on(type, () => heard.push(type));
}
const next = async () => { await waits.shift()(); return FakeSocket.all.at(-1); };
client.connect();
const first = FakeSocket.all[0];
first.open();
first.tell({ type: "session.created", event_id: "e1" });
first.tell({ type: "session.resumable", event_id: "e2", token: "T" });
for (const n of [1, 2, 3]) client.send("x", { n });
first.tell({ type: "a", event_id: "e3" });
"""


@needs_node
def test_what_the_server_did_not_get_is_sent_again_in_order() -> None:
    got = run_js(f"""
        {LINE}
        first.lose();
        client.send("x", {{ n: 4 }}); // while there is no line
        const second = await next();
        second.open();
        client.send("x", {{ n: 5 }}); // not before the server has said what it has
        const early = second.sent.length;
        second.tell({{ type: "session.resumed", event_id: "e9", received: 2 }});
        client.send("x", {{ n: 6 }});
        second.lose();
        const third = await next();
        third.open();
        third.tell({{ type: "session.resumed", event_id: "e10", received: 6 }});
        const sent = [second.sent, third.sent];
        console.log(JSON.stringify([second.protocols, early, third.protocols, sent, heard]));
    """)
    protocols, early, third_protocols, sent, heard = got
    assert protocols == ["realtime", "step-audio-resume.T.e3"]
    assert early == 0
    assert sent == [[3, 4, 5, 6], []]
    assert third_protocols == ["realtime", "step-audio-resume.T.e3"]
    assert heard == [
        "session.created", "a", "close", "session.resumed", "close", "session.resumed",
    ]  # fmt: skip


@needs_node
def test_a_session_that_is_gone_is_followed_by_a_new_one() -> None:
    got = run_js(f"""
        {LINE}
        first.lose();
        const second = await next();
        reachable = false;
        second.lose(); // never opened, and nothing else answers: the server may come back
        const third = await next();
        reachable = true;
        third.lose(); // never opened, but the server answers: it does not know the session
        const fourth = await next();
        fourth.open();
        client.send("x", {{ n: 7 }});
        const wished = [second, third, fourth].map((socket) => socket.protocols.at(-1));
        console.log(JSON.stringify([...wished, ...fourth.sent]));
    """)
    assert got == ["step-audio-resume.T.e3", "step-audio-resume.T.e3", "step-audio-resume", 7]


@needs_node
@pytest.mark.parametrize(("reason", "asleep"), [("idle", True), ("duration", False)])
def test_only_a_session_nobody_used_sleeps_until_it_is_woken(reason: str, asleep: bool) -> None:
    got = run_js(f"""
        {LINE}
        const expiring = {{ reason: "{reason}", expires_in_s: 3 }};
        first.tell({{ type: "session.expiring", event_id: "e4", ...expiring }});
        first.tell({{ type: "error", event_id: "e5", error: {{ code: "session_expired" }} }});
        first.lose(1008);
        const found = [client.asleep, client.usable, waits.length];
        client.wake();
        if (waits.length) await next();
        const [, second] = FakeSocket.all;
        console.log(JSON.stringify([...found, second.protocols.at(-1)]));
    """)
    assert got == [asleep, asleep, 0 if asleep else 1, "step-audio-resume"]


@needs_node
def test_a_silence_longer_than_what_is_kept_makes_nothing_come_twice() -> None:
    got = run_js(f"""
        {LINE}
        first.lose();
        for (let n = 4; n < 600; n++) client.send("x", {{ n }}); // 500 are kept
        const second = await next();
        second.open();
        second.tell({{ type: "session.resumed", event_id: "e9", received: 3 }});
        client.send("x", {{ n: 600 }});
        second.lose();
        const third = await next();
        third.open();
        third.tell({{ type: "session.resumed", event_id: "e10", received: 3 + 501 }});
        console.log(JSON.stringify([second.sent.length, second.sent[0], third.sent]));
    """)
    assert got == [501, 100, []]


@needs_node
def test_who_waits_for_a_session_goes_on_when_the_old_one_is_back() -> None:
    got = run_js(f"""
        {LINE}
        first.lose();
        let woken = false;
        client.wake().then(() => {{ woken = true; }});
        const second = await next();
        second.open();
        second.tell({{ type: "session.resumed", event_id: "e9", received: 3 }});
        await null;
        console.log(JSON.stringify(woken));
    """)
    assert got is True


@needs_node
def test_every_session_asks_for_a_key_of_its_own() -> None:
    got = run_js(f"""
        {
        LINE.replace('new RealtimeClient("ws://x", null)', 'new RealtimeClient("ws://x", ask)')
        .replace(
            "const client", "let made = 0; const ask = async () => `ek_${++made}`; const client"
        )
        .replace("client.connect();", "await client.connect();")
    }
        first.lose();
        const second = await next(); // taken up again with the key that opened it
        second.lose();
        client.token = "";
        const third = await next();
        await Promise.resolve();
        const keys = FakeSocket.all.map((socket) => socket.protocols[1].split(".")[1]);
        console.log(JSON.stringify([keys, made]));
    """)
    keys, made = got
    assert keys[:2] == ["ek_1", "ek_1"]
    assert made == 2


PAGE = """
const nodes = new Map();
globalThis.document = {
  getElementById: (id) => nodes.get(id) ?? nodes.set(id, { dataset: {}, hidden: false }).get(id),
};
globalThis.location = { hash: "" };
const { watchConnection } = await import("./connection.js");
const listeners = {};
const client = { open: true, on: (type, run) => (listeners[type] = run) };
const timers = [];
globalThis.setTimeout = (run, ms) => timers.push({ run, ms });
globalThis.clearTimeout = (id) => id && (timers[id - 1].run = () => {});
watchConnection(client);
const said = () => nodes.get("status").textContent;
const settled = () => new Promise((done) => setImmediate(done));
"""


@needs_node
def test_a_server_that_stays_away_is_called_so_within_ten_seconds() -> None:
    broke, waited, later = run_js(f"""
        {PAGE}
        globalThis.fetch = async () => {{ throw new TypeError(); }};
        client.open = false;
        const lost = {{ opened: true, retryMs: 500, resuming: true, asleep: false }};
        await listeners.close(lost);
        const broke = said();
        await listeners.close({{ ...lost, opened: false }});
        const waited = timers[0].ms;
        await timers[0].run();
        await listeners.close({{ ...lost, opened: false }}); // said once
        console.log(JSON.stringify([broke, waited, said()]));
    """)
    assert broke.startswith("The connection broke. Picking up")
    assert waited < 10_000
    assert later.startswith("The server does not answer. Is it still running?")


@needs_node
def test_a_model_that_does_not_answer_is_named_before_it_is_asked() -> None:
    first, last = run_js(f"""
        {PAGE}
        let missing = ["language model"];
        globalThis.fetch = async () => missing.length
          ? {{ status: 503, json: async () => ({{ status: "unavailable", missing }}) }}
          : {{ status: 200 }};
        listeners["session.created"]({{ session: {{ model: "m" }} }});
        await settled();
        const first = said();
        missing = [];
        timers[0].run();
        await settled();
        console.log(JSON.stringify([first, said()]));
    """)
    assert first.startswith("The language model does not answer.")
    assert last == "Ready"
