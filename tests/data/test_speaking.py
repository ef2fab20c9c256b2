"""Lines are said by any reader: speaking resumes, and what failed has its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from step_audio.core.audio import wav_bytes
from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.core.types import SamplingParams, Voice
from step_audio.data.llm import EndpointError
from step_audio.data.manifest import TextLine
from step_audio.data.readers import (
    EndpointReader,
    MachineReader,
    ProfileReader,
    SpokenLine,
    continuation,
)
from step_audio.data.speak import speak
from step_audio.data.tags import Tags
from step_audio.data.write import write
from step_audio.dialog.prompting.prompt import PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from tests.data.sounds import PLAIN, RATE, ToneReader, tone
from tests.endpoint import serving
from tests.fakes import (
    VOCAB,
    ByteTokenizer,
    MemoryVoices,
    ScriptedEngine,
    SineVocoder,
    group,
    services,
)


class _ExampleVoices(MemoryVoices):
    """Voices that come with an example."""

    def __init__(self) -> None:
        super().__init__("ann", "bob")

    def get(self, name: str) -> Voice:
        return replace(
            super().get(name), prompt_text="Good day. ", prompt_groups=(group(1), group(2))
        )


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
        def read(self, line: TextLine) -> SpokenLine:
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


def test_sound_comes_from_any_speech_endpoint() -> None:
    with serving(lambda body: wav_bytes(tone(0.5), RATE)) as endpoint:
        voices = {"user": ["ann", "bob"], "assistant": ["cy"]}
        reader = EndpointReader(endpoint.url, "tts", voices, tagged=True)
        said = reader.read(TextLine("Hello.", tags=Tags(speed=1)))
        asked = {reader.read(TextLine(f"hello {n}", "user")).speaker for n in range(8)}
    assert (said.rate_hz, said.speaker, asked) == (RATE, "cy", {"ann", "bob"})
    assert endpoint.requests[0][2]["input"] == "（慢速2）Hello."
    with serving(lambda body: b"not a sound") as endpoint:
        reader = EndpointReader(endpoint.url, "tts", {"assistant": ["cy"]})
        with pytest.raises(EndpointError, match="no sound"):
            reader.read(TextLine("Hello."))
        with pytest.raises(InputError, match="understand"):
            reader.read(TextLine("Hello.", tags=Tags(speed=1)))


def test_machine_voices_refuse_what_they_cannot_do() -> None:
    with pytest.raises(InputError, match="cannot do happy"):
        MachineReader().read(TextLine("hello", tags=Tags(emotion="happy")))


@pytest.mark.parametrize("clone", [False, True])
def test_a_profile_reads_lines_and_goes_on_in_an_example_s_voice(clone: bool) -> None:
    engine = ScriptedEngine([[*VOCAB.ids([group(5), group(6)])]])
    parts = replace(services(engine), voices=_ExampleVoices())
    voices = {"user": ["ann", "bob"], "assistant": ["ann"]}
    reader = ProfileReader(parts, voices, SamplingParams(), clone=clone)
    line = TextLine("Next.", tags=Tags(speed=2))
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
    assert {reader.read(TextLine(f"hello {n}", "user")).speaker for n in range(8)} == {"ann", "bob"}
    reader.close()


def test_each_line_draws_its_own_noise_and_the_same_when_it_is_read_again() -> None:
    vocoder = SineVocoder()
    parts = replace(services(ScriptedEngine([[*VOCAB.ids([group(5)])]] * 4)), vocoder=vocoder)
    reader = ProfileReader(parts, {"assistant": ["rms"]}, SamplingParams())
    takes = [TextLine("Next.", take=n) for n in range(3)]
    for line in [*takes, takes[0]]:
        reader.read(line)
    reader.close()
    assert len(set(vocoder.seeds)) == 3
    assert vocoder.seeds[3] == vocoder.seeds[0]


def test_a_voice_without_an_example_cannot_be_cloned() -> None:
    reader = ProfileReader(services(ScriptedEngine([[]])), {}, SamplingParams(), clone=True)
    with pytest.raises(InputError, match="no example"):
        reader.read(TextLine("Next.", "rms"))
    reader.close()


def test_the_clone_prompt_ends_where_the_voice_goes_on() -> None:
    voice = _ExampleVoices().get("ann")
    builder = PromptBuilder(ByteTokenizer(), VOCAB)
    ids = continuation(builder, VOCAB.bos, "read", "Next.", voice)
    turns = (
        Turn("system", (Text(load_prompt("read")),)),
        Turn("human", (Text("Good day. Next."),)),
    )
    assert ids == [VOCAB.bos, *builder.chat(turns), *VOCAB.ids(voice.prompt_groups)]
