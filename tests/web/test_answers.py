"""The page's answers, by a speaker and a server of our own: who is told what, in which order."""

from tests.web.node import DOM, needs_node, run_js

ANSWERS = f"""
{DOM}
const {{ Answers }} = await import("./answers.js");
const told = [];
const wire = () => {{
  const heard = new Map();
  const on = (type, handle) => heard.set(type, handle);
  return {{ on, fire: (type, facts) => heard.get(type)?.(facts) }};
}};
const client = {{
  ...wire(),
  cancel: () => told.push("cancel"),
  truncate: (id, ms) => told.push(`truncate ${{id}} ${{ms}}`),
}};
const sound = {{
  ...wire(),
  play: (id) => told.push(`play ${{id}}`),
  finish: (id) => told.push(`finish ${{id}}`),
  flush: () => told.push("flush"), // "flushed" comes when the test says so
}};
const answers = new Answers(client, sound, () => {{}});
const begin = (id) => client.fire("response.created", {{ response: {{ id: `r${{id}}` }} }});
const speak = (id) => client.fire("response.output_item.added", {{
  response_id: `r${{id}}`, item: {{ id, type: "message" }},
}});
const say = (id, delta = " word") =>
  client.fire("response.output_audio_transcript.delta", {{ item_id: id, delta }});
const play = (id) => client.fire("response.output_audio.delta", {{ item_id: id, delta: "AAA=" }});
const done = (id, status = "completed") =>
  client.fire("response.done", {{ response: {{ id: `r${{id}}`, status, output: [{{ id }}] }} }});
"""


@needs_node
def test_no_sound_follows_a_stop_and_the_next_answer_is_not_taken_for_the_old_one() -> None:
    got = run_js(f"""
        {ANSWERS}
        begin("a"); speak("a"); say("a"); play("a");
        answers.interrupt();
        play("a"); // under way before the server knew
        done("a", "cancelled");
        begin("b"); speak("b"); say("b"); play("b"); // faster than the speakers
        sound.fire("flushed", {{ heard: [{{ id: "a", playedMs: 30 }}] }});
        play("b");
        done("b");
        const [a, b] = ["a", "b"].map((id) => answers.answers.get(id));
        console.log(JSON.stringify([told, a.interrupted, a.finished, b.interrupted]));
    """)
    told, *states = got
    assert told == ["play a", "cancel", "flush", "play b", "truncate a 30", "play b", "finish b"]
    assert states == [True, True, False]


@needs_node
def test_an_answer_that_was_cancelled_before_its_first_word_never_begins() -> None:
    got = run_js(f"""
        {ANSWERS}
        begin("a");
        answers.interrupt();
        speak("a"); say("a"); play("a"); done("a", "cancelled");
        console.log(JSON.stringify([told, answers.busy]));
    """)
    assert got == [["cancel", "flush"], False]


@needs_node
def test_screen_readers_are_told_an_answer_when_all_of_it_is_there() -> None:
    got = run_js(f"""
        {ANSWERS}
        begin("a"); speak("a");
        const {{ node, body }} = answers.answers.get("a");
        let drawn = 0;
        Object.defineProperty(body.children[0], "textContent", {{ set() {{ drawn += 1; }} }});
        for (let n = 0; n < 3; n++) say("a");
        play("a");
        done("a");
        const busy = node.attributes["aria-busy"];
        drawn = 0;
        for (let ms = 0; ms < 50; ms++) {{
          sound.fire("progress", {{ id: "a", playedMs: 0, peak: 0, targetMs: 0, gaps: 0 }});
        }}
        const idle = drawn; // nothing new was reached
        sound.fire("finished", {{ id: "a" }});
        console.log(JSON.stringify([busy, idle, node.attributes["aria-busy"] ?? null]));
    """)
    assert got == ["true", 0, None]
