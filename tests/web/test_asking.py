"""Who speaks: the microphone, a question that asks itself, and who thinks better of it."""

from tests.web.node import DOM, needs_node, run_js

TALK = f"""
{DOM}
globalThis.fetch = async () => ({{ ok: true, arrayBuffer: async () => new ArrayBuffer(0) }});
const {{ Talk }} = await import("./talk.js");
const told = [];
const wire = () => {{
  const heard = new Map();
  const on = (type, handle) => heard.set(type, [...(heard.get(type) ?? []), handle]);
  const fire = (type, facts = {{}}) => heard.get(type)?.forEach((handle) => handle(facts));
  return {{ on, fire }};
}};
const tell = (name) => () => told.push(name);
const client = {{
  ...wire(), open: true, usable: true, wake: async () => {{}}, cancel: tell("cancel"),
  send: (type) => told.push(type.split(".").at(-1)), append: tell("append"), commit: tell("commit"),
  update: ({{ audio }}) => told.push(audio.input.turn_detection ? "detect" : "obey"),
}};
let allow = async () => {{}};
let played = () => {{}};
const sound = {{
  ...wire(), stream: null, muted: false, ready: async () => {{}}, flush() {{}},
  microphone: () => allow(), record: tell("record"), stopRecording: tell("stop"),
  release: tell("release"), decode: async () => ({{ pcm: new Int16Array(4800), buffer: null }}),
  playFile: (_, signal) => new Promise((done) => {{
    played = done;
    signal.addEventListener("abort", () => done());
  }}),
}};
const rest = () => new Promise((done) => setTimeout(done));
document.getElementById("turns").value = "auto";
const talk = new Talk(client, sound);
const last = () => told.splice(0);
"""


@needs_node
def test_a_sample_asked_while_it_listens_is_not_cleared_by_the_microphone_s_end() -> None:
    got = run_js(f"""
        {TALK}
        await talk.start();
        const live = last();
        const asked = talk.asking.play("a");
        await rest();
        sound.fire("end"); // the worklet's, behind what was appended
        played();
        await asked;
        console.log(JSON.stringify([live, last(), talk.live]));
    """)
    live, asked, live_again = got
    assert live == ["detect", "record"]
    assert asked == [
        "stop", "clear", "obey", "clear", "append", "append", "commit",
        "detect", "detect", "record",
    ]  # fmt: skip
    assert live_again


@needs_node
def test_a_second_sample_takes_the_place_of_the_first_and_stop_of_both() -> None:
    got = run_js(f"""
        {TALK}
        const first = talk.asking.play("a");
        await rest();
        const second = talk.asking.play("b");
        await rest();
        played();
        await Promise.all([first, second]);
        const twice = last().filter((what) => what === "commit" || what === "clear");
        const third = talk.asking.play("c");
        await rest();
        const bubble = Boolean(talk.waiting);
        talk.stop();
        await third;
        console.log(JSON.stringify([twice, last(), bubble, talk.waiting]));
    """)
    twice, stopped, bubble, waiting = got
    assert twice == ["clear", "clear", "clear", "commit"]
    assert stopped == ["obey", "clear", "append", "append", "clear", "detect", "release"]
    assert bubble
    assert waiting is None


@needs_node
def test_a_change_of_mind_while_the_browser_asks_is_heard() -> None:
    got = run_js(f"""
        {TALK}
        const asks = () => {{
          let answer;
          const asked = new Promise((done) => {{ answer = done; }});
          allow = () => asked;
          return answer;
        }};
        const seen = [];
        for (const mind of [() => talk.stop(), () => talk.send(), () => talk.tap()]) {{
          const answer = asks();
          const started = talk.start({{ hold: true }});
          talk.start(); // a second press is none
          mind();
          answer();
          await started;
          seen.push([talk.live, talk.holding]);
        }}
        sound.fire("gone");
        console.log(JSON.stringify([seen, talk.live]));
    """)
    assert got == [[[False, False], [False, False], [True, False]], False]
