"""The data engine from texts to shards: every step resumes, rejects with reasons, and agrees with
the prompts that serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import wav_bytes
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, SamplingParams, TokenGroup, Voice
from step_audio.data import filter as sieve
from step_audio.data.gates import ALL, HIGH, Gate, speaker_count, with_bounds
from step_audio.data.llm import ChatEndpoint, EndpointError, exchanges
from step_audio.data.manifest import Line, Utterance, read_lines, read_utterances
from step_audio.data.pack import pack, read_samples, tokens
from step_audio.data.readers import EndpointReader, MachineReader, ProfileReader, Said, continuation
from step_audio.data.report import report
from step_audio.data.samples import TASKS, Sample
from step_audio.data.segment import Cuts, plan_cuts
from step_audio.data.shards import TokenShards
from step_audio.data.speak import speak
from step_audio.data.tags import SPEEDS, Tags
from step_audio.data.write import PUBLISHED, Exchange, grammar, write
from step_audio.dialog.prompt import Audio, Heard, PromptBuilder, Spoken, Text, Turn
from step_audio.dialog.prompts import load_prompt
from tests.endpoint import serving
from tests.fakes import (
    VOCAB,
    ByteTokenizer,
    CountingTokenizer,
    MemoryVoices,
    ScriptedEngine,
    group,
    services,
)
from tokenizer.turns import TurnTiming
from tokenizer.vad import EnergyTurnDetector

RATE = 16_000
ASKED = Exchange("what time is it", "It is noon.", ("get_time", "{}"), '{"time":"noon"}')
PLAIN = Exchange("say hello", "Hello there.", source={"by": "test"})


def tone(seconds: float, hertz: float = 200.0, level: float = 0.3) -> Pcm:
    t = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(int(hertz)).standard_normal(len(t)) * 1e-4
    return (level * np.sin(2 * np.pi * hertz * t) + noise).astype(np.float32)


class ToneReader:
    """A tone as long as the text; refuses the word "unsayable"."""

    def __init__(self) -> None:
        self.read_texts: list[str] = []

    def read(self, line: Line) -> Said:
        self.read_texts.append(line.text)
        if "unsayable" in line.text:
            raise InputError("cannot say unsayable")
        pause = np.random.default_rng(1).standard_normal(4000).astype(np.float32) * 1e-4
        sound = np.concatenate([pause, tone(0.06 * len(line.text), 100 + len(line.text)), pause])
        return Said(sound, RATE, "tone", {"engine": "tone", "licence": "none"})


def gate(heard: str = "") -> Gate:
    return Gate(EnergyTurnDetector(TurnTiming()), hear=lambda pcm, rate: heard)


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    write(tmp_path, [ASKED, PLAIN])
    speak(tmp_path, ToneReader())
    return tmp_path


def test_rows_outlive_a_cut_off_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_rows(path) == [{"a": 1}, {"a": 2}]
    with RowWriter(path) as rows:
        rows.add({"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    path.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1"):
        read_rows(path)


def test_writing_again_adds_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, [ASKED, PLAIN]) == (12, 4)
    assert write(tmp_path, [ASKED, PLAIN]) == (0, 0)
    assert {s.task for s in read_samples(tmp_path)} == set(TASKS)


def test_the_grammar_gives_the_same_texts_for_the_same_seed() -> None:
    assert list(grammar(5, 1, styles=True)) == list(grammar(5, 1, styles=True))
    assert {e.tags.speed for e in grammar(60, 1, styles=True)} == {1, 2, 3, 4, 5}
    assert all(e.question for e in grammar(50, 2))


def test_speaking_resumes_and_says_why_a_line_failed(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, replace(PLAIN, answer="Quite unsayable.")], ["TTS"])
    reader = ToneReader()
    assert speak(tmp_path, reader) == (1, 1)
    (failure,) = read_rows(tmp_path / "failures.jsonl")
    assert failure["reason"] == "cannot say unsayable"
    assert speak(tmp_path, reader) == (0, 0)
    assert len(reader.read_texts) == 2
    assert speak(tmp_path, reader, again=True) == (0, 1)


def test_an_unforeseen_error_ends_speaking_at_once(tmp_path: Path) -> None:
    write(tmp_path, [replace(PLAIN, answer=f"Hello {n}.") for n in range(50)], ["TTS"])

    class Broken(ToneReader):
        def read(self, line: Line) -> Said:
            super().read(line)
            raise KeyboardInterrupt

    reader = Broken()
    with pytest.raises(KeyboardInterrupt):
        speak(tmp_path, reader, workers=1)
    assert len(reader.read_texts) < 10
    assert speak(tmp_path, ToneReader()) == (50, 0)


def test_a_server_that_is_down_is_not_held_against_the_lines(tmp_path: Path) -> None:
    write(tmp_path, [replace(PLAIN, answer=f"Hello {n}.") for n in range(60)], ["TTS"])
    with serving(lambda body: 503) as endpoint:
        reader = EndpointReader(endpoint.url, "tts", {"assistant": ["cy"]})
        with pytest.raises(EndpointError, match="503"):
            speak(tmp_path, reader, workers=1)
        assert len(endpoint.requests) < 30
    assert speak(tmp_path, ToneReader()) == (60, 0)


def test_an_utterance_carries_its_provenance_and_notices_alteration(spoken: Path) -> None:
    lines = {line.id: line for line in read_lines(spoken)}
    for utterance in read_utterances(spoken):
        assert utterance.text == lines[utterance.id].text
        assert utterance.source["engine"] == "tone"
        assert utterance.source["text"] == lines[utterance.id].source
        assert len(utterance.read(spoken)[0]) == pytest.approx(utterance.seconds * RATE, abs=9)
    first, second = read_utterances(spoken)[:2]
    (spoken / first.file).write_bytes((spoken / second.file).read_bytes())
    with pytest.raises(InputError, match="altered"):
        first.read(spoken)
    (spoken / second.file).unlink()
    sieve.measure(spoken, gate)
    assert sieve.judge(spoken) == {"unreadable": 2, "error_rate": 2}
    reasons = [row["rejected"][0]["reason"] for row in read_rows(spoken / "verdicts.jsonl")]
    assert reasons[0] == f"{first.file} was altered since it was written"
    assert reasons[1].startswith(f"no file {second.file}")


def test_every_rejection_has_its_reason(spoken: Path) -> None:
    assert sieve.measure(spoken, gate) == 4
    assert sieve.measure(spoken, gate) == 0
    counts = sieve.judge(spoken)
    assert counts == {"error_rate": 4}
    for verdict in read_rows(spoken / "verdicts.jsonl"):
        (rejected,) = verdict["rejected"]
        assert rejected["reason"] == "recognition error rate 1, wanted at most 0.35"
    # Other bounds judge the same scores again.
    assert sieve.judge(spoken, with_bounds(ALL, ["error_rate<=1"])) == {"passed": 4}


def test_scores_of_ones_own_are_added_to_those_measured(spoken: Path) -> None:
    """Brought before or after the measuring, they replace one score and no other."""
    first, second, *_ = read_utterances(spoken)
    with RowWriter(spoken / "scores.jsonl") as rows:
        rows.add({"id": first.id, "error_rate": 0.0})
    assert sieve.measure(spoken, gate) == 4
    with RowWriter(spoken / "scores.jsonl") as rows:
        rows.add({"id": second.id, "error_rate": 0.0})
    assert sieve.measure(spoken, gate) == 0
    strict = with_bounds(ALL, ["level_db<=-60"])
    assert sieve.judge(spoken, strict) == {"level_db": 4, "error_rate": 2}
    assert sieve.accepted(spoken, strict) == []
    assert len(sieve.accepted(spoken, ALL)) == 2


def test_a_sound_that_was_replaced_is_measured_and_encoded_again(spoken: Path) -> None:
    bounds = with_bounds(ALL, ["error_rate<=1"])
    sieve.measure(spoken, gate)
    before = tokens(spoken, sieve.accepted(spoken, bounds), CountingTokenizer(), "fake")
    first = read_utterances(spoken)[0]
    for name in ("utterances.jsonl", first.file):
        (spoken / name).unlink()

    class Longer(ToneReader):
        def read(self, line: Line) -> Said:
            said = super().read(line)
            return replace(said, pcm=np.concatenate([said.pcm, said.pcm]))

    speak(spoken, Longer())
    assert sieve.accepted(spoken, bounds) == []
    assert sieve.measure(spoken, gate) == 4
    after = tokens(spoken, sieve.accepted(spoken, bounds), CountingTokenizer(), "fake")
    assert len(after[first.id]) > len(before[first.id])


def test_a_recogniser_of_another_language_measures_nothing() -> None:
    sound = tone(1.0)
    utterance = Utterance("id", "你好", "", "", 0.0, "tone", language="zh")
    english = Gate(EnergyTurnDetector(TurnTiming()), lambda pcm, rate: "knee how", language="en")
    assert english.measure(utterance, sound, RATE)["error_rate"] is None
    assert english.measure(replace(utterance, language="en"), sound, RATE)["error_rate"] == 1.0


def test_what_was_said_in_the_end_is_no_failure_of_the_report(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, replace(PLAIN, answer="Quite unsayable.")], ["TTS"])

    class Mute(ToneReader):
        def read(self, line: Line) -> Said:
            raise InputError("out of order")

    speak(tmp_path, Mute())
    speak(tmp_path, ToneReader(), again=True)
    report(tmp_path)
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["not_said"] == 1
    assert facts["not_said_why"] == {"cannot say unsayable": 1}


def test_gates_hear_what_is_wrong_with_a_sound() -> None:
    utterance = Utterance("id", "hello there", "", "", 0.0, "tone")
    pause = np.zeros(RATE, np.float32)
    good = np.concatenate([pause, tone(1.0), pause])
    scores = gate("hello there").measure(utterance, good, RATE)
    assert scores["error_rate"] == 0.0
    assert scores["speech"] == pytest.approx(1 / 3, abs=0.1)
    assert scores["level_db"] == pytest.approx(-13.5, abs=1.0)
    assert scores["speakers"] is None
    clipped = np.clip(good * 20, -1, 1)
    assert gate().measure(utterance, clipped, RATE)["clipped"] > 0.1
    assert gate().measure(utterance, pause + 1e-5, RATE)["speech"] == 0.0


def test_two_voices_are_two_speakers() -> None:
    def embed(pcm: Pcm) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        high = np.abs(np.fft.rfft(pcm))[: len(pcm) // 8].argmax() > 300 * len(pcm) / RATE
        return np.array([1.0, 0.1] if high else [0.1, -1.0], dtype=np.float32)

    one, two = tone(3.2, 150), tone(3.2, 700)
    assert speaker_count(one, RATE, embed) == 1
    assert speaker_count(np.concatenate([one, two]), RATE, embed) == 2
    assert speaker_count(one[:RATE], RATE, embed) is None


def test_the_second_of_equal_sounds_is_rejected(tmp_path: Path) -> None:
    same = [replace(PLAIN, answer=text) for text in ("hello there", "there hello")]
    write(tmp_path, same, ["TTS"])
    speak(tmp_path, ToneReader())
    sieve.measure(tmp_path, gate)
    assert sieve.judge(tmp_path, with_bounds(ALL, ["error_rate<=1"]))["copies"] == 1


def test_a_bound_that_does_not_exist_is_refused() -> None:
    assert with_bounds(HIGH, ["dnsmos>=3.1"])["dnsmos"].low == 3.1
    for bad in ("beauty>=3", "dnsmos=3", "dnsmos>=x"):
        with pytest.raises(InputError):
            with_bounds(ALL, [bad])


def test_packed_ids_are_those_that_serving_builds(spoken: Path, tmp_path: Path) -> None:
    sieve.measure(spoken, gate)
    bounds = with_bounds(ALL, ["error_rate<=1"])
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    passed = sieve.accepted(spoken, bounds)
    groups = tokens(spoken, passed, CountingTokenizer(), "fake")
    assert tokens(spoken, passed, _Broken(), "fake") == groups  # read from disk
    samples = read_samples(spoken)
    counts = pack(samples, groups, builder, VOCAB, tmp_path / "pack")
    assert counts == dict.fromkeys(TASKS, 2)
    shards = TokenShards(tmp_path / "pack")
    by_id = {sample.id: sample for sample in samples}
    for index, (name, task) in enumerate(shards.rows()):
        ids, mask = shards[index]
        sample = by_id[name]
        wanted = builder.training_sequence(sample.resolve(groups), context=sample.context)
        assert (ids.tolist(), mask.tolist()) == wanted
        assert task == sample.task
    spoken_one = next(s for s in samples if s.task == "AQAA" and "call" not in str(s.turns))
    asked, said = spoken_one.lines()
    assert spoken_one.resolve(groups) == [
        Turn("system", (Text(load_prompt("answer")),)),
        Turn("human", (Audio(groups[asked]),)),
        Turn("assistant", (Heard("say hello"), Spoken("Hello there.", groups[said]))),
    ]


def test_a_sample_without_its_sound_is_left_out_and_counted(spoken: Path, tmp_path: Path) -> None:
    counts = pack(
        read_samples(spoken), {}, PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, tmp_path / "pack"
    )
    assert counts == {"TQTA": 2, "sound missing": 10}
    assert json.loads((tmp_path / "pack" / "pack.json").read_text())["left_out"] == 10


@pytest.mark.parametrize(("text_run", "group_run"), [(10, 3), (5, 3), (10, 6)])
def test_the_rhythm_of_answers_can_be_another(text_run: int, group_run: int) -> None:
    builder = PromptBuilder(ByteTokenizer(), VOCAB, text_run=text_run, group_run=group_run)
    groups = tuple(group(n) for n in range(7))
    ids = builder.content((Spoken("a" * 22, groups),))
    runs = "".join("a" if VOCAB.is_audio(i) else "t" for i in ids)
    assert runs.startswith("t" * text_run + "a" * 5 * group_run + "t")


def test_the_published_layout_shows_an_example_first(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, replace(ASKED, tags=Tags(speed=5))], ["TTS"], PUBLISHED)
    first, second = read_samples(tmp_path)
    assert len(first.turns) == 3
    assert [role for role, _ in second.turns] == [
        *("system", "human", "assistant"),
        *("human", "assistant"),
    ]
    assert second.context == 3
    assert second.turns[3] == ["human", [{"text": "（快速2）It is noon."}]]


def test_tags_are_written_as_the_published_model_reads_them() -> None:
    assert [Tags(speed=level).prefix() for level in range(1, 6)] == [
        f"（{tag}）" if tag else "" for tag in SPEEDS
    ]
    assert Tags(emotion="happy", intensity=2, dialect="sichuan").prefix() == "（四川话，高兴2）"
    assert Tags(singing="rap").prefix() == "（RAP）"
    assert Tags.from_row(Tags(style="whisper", speed=2).row()) == Tags(style="whisper", speed=2)
    for bad in ({"speed": 6}, {"singing": "opera"}, {"style": "a（b"}, {"mood": "x"}):
        with pytest.raises(InputError):
            Tags.from_row(bad)


def test_machine_voices_refuse_what_they_cannot_do() -> None:
    with pytest.raises(InputError, match="cannot do happy"):
        MachineReader().read(Line("hello", tags=Tags(emotion="happy")))


@pytest.mark.parametrize("clone", [False, True])
def test_a_profile_reads_lines_and_goes_on_in_an_example_s_voice(clone: bool) -> None:
    engine = ScriptedEngine([[*VOCAB.ids([group(5), group(6)])]])
    parts = replace(services(engine), voices=_ExampleVoices())
    voices = {"user": ["ann", "bob"], "assistant": ["ann"]}
    reader = ProfileReader(parts, voices, SamplingParams(), clone=clone)
    line = Line("Next.", tags=Tags(speed=2))
    said = reader.read(line)
    assert (len(said.pcm), said.rate_hz, said.speaker) == (2 * 960, 8000, "ann")
    assert said.source["engine"] == ("clone" if clone else "profile")
    (request,) = engine.requests
    assert request.sampling.seed == said.source["seed"]
    voice = parts.voices.get("ann")
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    if clone:
        wanted = continuation(builder, VOCAB.bos, "tts_any_voice", "（慢速1）Next.", voice)
        assert list(request.prompt) == wanted
    assert {reader.read(Line(f"hello {n}", "user")).speaker for n in range(8)} == {"ann", "bob"}


def test_a_voice_without_an_example_cannot_be_cloned() -> None:
    reader = ProfileReader(services(ScriptedEngine([[]])), {}, SamplingParams(), clone=True)
    with pytest.raises(InputError, match="no example"):
        reader.read(Line("Next.", "rms"))


def test_the_clone_prompt_ends_where_the_voice_goes_on() -> None:
    voice = _ExampleVoices().get("ann")
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    ids = continuation(builder, VOCAB.bos, "read", "Next.", voice)
    turns = (
        Turn("system", (Text(load_prompt("read")),)),
        Turn("human", (Text("Good day. Next."),)),
    )
    assert ids == [VOCAB.bos, *builder.chat(turns), *VOCAB.ids(voice.prompt_groups)]


def test_texts_come_from_any_chat_endpoint() -> None:
    def reply(body: dict[str, object]) -> str:
        if "tides" in str(body["messages"]):
            return "I would rather not."
        row = {"question": "Why is it blue?", "answer": "Light scatters.", "tags": {"speed": 4}}
        return f"```json\n{json.dumps(row)}\n```"

    with serving(reply) as endpoint:
        chat = ChatEndpoint(endpoint.url, "writer", key="secret")
        found = list(exchanges(chat, ["the sky", "tides"], 2, workers=1))
    assert [e.answer for e in found] == ["Light scatters."] * 2
    assert found[0].tags == Tags(speed=4)
    assert found[0].source["model"] == "writer"
    assert found[0].source["topic"] == "the sky"
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert "the sky" in body["messages"][0]["content"]
    assert len(endpoint.requests) == 2 + 2 * 3  # a topic of no use is asked three times


def test_texts_that_an_endpoint_wrote_are_not_asked_for_again(tmp_path: Path) -> None:
    """A model draws another text each time: asked again, it would write twice as much."""
    numbers = count(1)

    def reply(body: dict[str, object]) -> str:
        number = next(numbers)
        return json.dumps({"question": f"Question {number}?", "answer": f"Answer {number}."})

    def texts(url: str, each: int, seed: int = 0) -> Iterator[Exchange]:
        chat = ChatEndpoint(url, "writer")
        store = tmp_path / "texts.jsonl"
        return exchanges(chat, ["sky", "sea"], each, seed=seed, workers=2, store=store)

    with serving(reply) as endpoint:
        first = list(islice(texts(endpoint.url, 3), 4))
        write(tmp_path, first, ["TQTA"])
        again = list(texts(endpoint.url, 3))
        assert again[:4] == first
        assert len(again) == len({e.question for e in again}) == 6
        assert len(endpoint.requests) == 6
        # Other tasks are written of the same texts.
        assert write(tmp_path, texts(endpoint.url, 3), ["TQTA", "TTS"]) == (2 + 6, 6)
        assert len(list(texts(endpoint.url, 3, seed=1))) == 6
        assert len(endpoint.requests) == 12


def test_an_endpoint_that_gives_nothing_is_named() -> None:
    with serving(lambda body: 503) as endpoint, pytest.raises(EndpointError, match="503"):
        list(exchanges(ChatEndpoint(endpoint.url, "m"), ["a"], 1))


def test_sound_comes_from_any_speech_endpoint() -> None:
    with serving(lambda body: wav_bytes(tone(0.5), RATE)) as endpoint:
        voices = {"user": ["ann", "bob"], "assistant": ["cy"]}
        reader = EndpointReader(endpoint.url, "tts", voices, tagged=True)
        said = reader.read(Line("Hello.", tags=Tags(speed=1)))
        asked = {reader.read(Line(f"hello {n}", "user")).speaker for n in range(8)}
    assert (said.rate_hz, said.speaker, asked) == (RATE, "cy", {"ann", "bob"})
    assert endpoint.requests[0][2]["input"] == "（慢速2）Hello."
    with serving(lambda body: b"not a sound") as endpoint:
        reader = EndpointReader(endpoint.url, "tts", {"assistant": ["cy"]})
        with pytest.raises(EndpointError, match="no sound"):
            reader.read(Line("Hello."))
        with pytest.raises(InputError, match="understand"):
            reader.read(Line("Hello.", tags=Tags(speed=1)))


def test_segments_are_joined_over_short_pauses_and_never_too_long() -> None:
    spans = [(0, 900), (1100, 2000), (3000, 3200), (5000, 25_000)]
    assert plan_cuts(spans, Cuts(600, 10_000, 400)) == [(0, 2000), (5000, 15_000), (15_000, 25_000)]


def test_the_report_counts_and_plots(spoken: Path) -> None:
    sieve.measure(spoken, gate)
    sieve.judge(spoken)
    page = report(spoken).read_text()
    assert "| error_rate | 4 |" in page
    assert "recognition error rate 1, wanted at most 0.35" in page
    assert {path.stem for path in (spoken / "report").glob("*.svg")} >= {
        "seconds",
        "rejections",
        "error_rate",
        "speakers",
    }


def test_samples_of_another_form_are_refused() -> None:
    for turns in ([["king", []]], [["human", [{"tune": "x"}]]], [["human", [{"text": 3}]]]):
        with pytest.raises(InputError):
            Sample("TQTA", turns).resolve({})
    with pytest.raises(InputError):
        Sample("XYZ", [])


class _ExampleVoices(MemoryVoices):
    """Voices that come with an example."""

    def __init__(self) -> None:
        super().__init__("ann", "bob")

    def get(self, name: str) -> Voice:
        return replace(
            super().get(name), prompt_text="Good day. ", prompt_groups=(group(1), group(2))
        )


class _Broken:
    sample_rate_hz = RATE

    def open(self) -> Stage[Pcm, TokenGroup]:
        raise AssertionError("nothing is encoded twice")
