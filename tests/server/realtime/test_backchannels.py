"""What somebody says over an answer, judged by its words where the model hears them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from server.realtime.session.send_queue import SOUND
from step_audio.core.errors import EngineError
from step_audio.core.types import GenerationRequest
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.interruptions import InterruptionJudge
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.dialog.turns.backchannels import ASSENT, OBJECTIONS
from step_audio.dialog.turns.utterance import SpokenQuestion
from tests.fakes import (
    VOCAB,
    FixedClock,
    MemoryRecorder,
    ScriptedEngine,
    group,
    services,
    text_ids,
)
from tests.server.conftest import Connect
from tests.server.wire import Event, Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

HEARD = [6, *text_ids("what time is it"), 7]
WORDS = "It is noon and the sun is high above the town."
ANSWER = [*HEARD, *interleave(text_ids(WORDS), [group(n) for n in range(20)], VOCAB)]
TURNS = TurnSettings(resume_ms=400, backchannel_ms=900, speculate=False)
GROUPS = (group(1), group(2))


@dataclass
class HearingEngine(ScriptedEngine):
    """Answers with its script; asked for one of some phrases it hears `words`."""

    words: str = ""
    fails: bool = False
    asked: list[GenerationRequest] = field(default_factory=list)

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        if not request.transcripts:
            async for token_id in super().generate(request):
                yield token_id
            return
        self.asked.append(request)
        if self.fails:
            raise EngineError("no memory")
        for token_id in [6, *text_ids(self.words), 7]:
            yield token_id


def over_an_answer(talk: Talk, clock: FixedClock, sound_s: float) -> tuple[list[Event], str]:
    """Ask, let the answer begin, make a sound over it; return the events and the answer's item."""
    talk.hear(0.3)
    talk.hear(0.6, 0.3)
    talk.hear(0.7)
    item: str = talk.until(SOUND)[-1]["item_id"]
    clock.now = 0.6
    talk.hear(sound_s, 0.3)
    talk.hear(0.4)
    return talk.until("response.done"), item


@pytest.mark.parametrize(
    ("words", "sound_s", "resumes"),
    [
        ("mm hmm", 0.3, True),
        ("yeah", 0.6, True),  # longer than resume_ms, and only assent
        ("stop", 0.2, False),  # shorter, and an objection
        ("wait a moment", 0.7, False),
        ("something else", 0.3, True),  # the words do not tell: the length does
        ("something else", 0.6, False),
    ],
)
def test_words_over_an_answer_end_it_or_do_not(
    connect: Connect, words: str, sound_s: float, *, resumes: bool
) -> None:
    engine, clock = HearingEngine([ANSWER], hold=len(ANSWER) - 5, words=words), FixedClock()
    recorder, dialog = MemoryRecorder(), DialogSettings(turns=TURNS)
    client = connect(
        engine=engine,
        detector=EnergyTurnDetector(),
        dialog=dialog,
        clock=clock,
        recorder=recorder,
    )
    with talking(client) as talk:
        events, _ = over_an_answer(talk, clock, sound_s)
        # The answer falls silent at once, whatever comes of it.
        assert events[-1]["response"]["status_details"]["reason"] == "turn_detected"
        engine.hold = None
        engine.resume.set()
        talk.hear(0.7)
        rest = talk.until("response.done")
        assert rest[-1]["response"]["status"] == "completed"
        assert ("input_audio_buffer.cleared" in kinds(rest)) is resumes
        assert ("input_audio_buffer.committed" in kinds(rest)) is not resumes
    assert len(engine.requests) == (1 if resumes else 2)
    assert len(engine.asked) == 1
    end = "resumed" if resumes else "ended"
    assert (f"interruptions.{end}", 1) in recorder.seen


def test_a_long_sound_ends_an_answer_before_it_is_over(connect: Connect) -> None:
    engine, clock = HearingEngine([ANSWER], hold=len(ANSWER) - 5, words="yeah"), FixedClock()
    dialog = DialogSettings(turns=TURNS)
    client = connect(engine=engine, detector=EnergyTurnDetector(), dialog=dialog, clock=clock)
    with talking(client) as talk:
        over_an_answer(talk, clock, 1.5)
        engine.hold = None
        talk.hear(0.7)
        assert "input_audio_buffer.committed" in kinds(talk.until("response.done"))
    assert not engine.asked


def test_what_a_pause_ends_is_answered_early(connect: Connect) -> None:
    engine, clock = HearingEngine([ANSWER], hold=len(ANSWER) - 5, words="stop"), FixedClock()
    dialog = DialogSettings(turns=replace(TURNS, speculate=True))
    client = connect(engine=engine, detector=EnergyTurnDetector(), dialog=dialog, clock=clock)
    with talking(client) as talk:
        over_an_answer(talk, clock, 0.3)
        engine.hold = None
        engine.resume.set()
        talk.hear(0.7)
        done = talk.until("response.done")[-1]["response"]
        assert done["status"] == "completed", done


def judge(engine: ScriptedEngine, prompt: str = "transcribe") -> InterruptionJudge:
    settings = DialogSettings(turns=TURNS, transcribe_prompt=prompt)
    return InterruptionJudge(Assistant(services(engine), settings))


async def test_the_model_is_asked_which_of_the_phrases_was_said() -> None:
    engine = HearingEngine([ANSWER], words="stop")
    assert await judge(engine).ends_answer(SpokenQuestion(GROUPS), 300)
    phrases = [bytes(i - 300 for i in ids).decode() for ids in engine.asked[0].transcripts]
    assert phrases == [*ASSENT, *OBJECTIONS]
    assert engine.asked[0].sampling.temperature == 0.0


@pytest.mark.parametrize(("spoken_ms", "ends"), [(300, False), (500, True), (950, True)])
@pytest.mark.parametrize("prompt", ["transcribe", ""])
async def test_the_length_decides_where_nobody_can_tell_the_words(
    spoken_ms: int, prompt: str, *, ends: bool
) -> None:
    engine = HearingEngine([ANSWER], fails=True)
    assert await judge(engine, prompt).ends_answer(SpokenQuestion(GROUPS), spoken_ms) is ends


async def test_a_model_without_transcripts_is_asked_to_transcribe() -> None:
    async def ends(words: str) -> bool:
        scripts: Sequence[Sequence[int]] = [text_ids(words)]
        vocab = replace(VOCAB, heard_open=None, heard_close=None)
        parts = replace(services(ScriptedEngine(scripts)), vocab=vocab)
        settings = DialogSettings(turns=TURNS)
        return await InterruptionJudge(Assistant(parts, settings)).ends_answer(
            SpokenQuestion(GROUPS), 600
        )

    assert not await ends("Mm-hmm, yeah.")
    assert await ends("No, wait.")
    assert await ends("I meant London")
