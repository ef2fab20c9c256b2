"""The LM's mix: what comes before a question, and how it is typed."""

import random
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from step_audio.data.spoken import SpokenItem
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.engine.text import BpeTextTokenizer
from step_audio.nano.domain import QaSample, delivery, generate, generate_intent, greetings
from step_audio.nano.training.lm_data import nano_vocab
from step_audio.nano.training.lm_samples import (
    COPIED,
    COPYING,
    GREETED,
    IN_MANNER,
    UNRELATED,
    LmSample,
    SampleComposer,
    as_typed,
)

TOKENIZER = BpeTextTokenizer(Path(str(files("step_audio") / "weights/nano/lm/tokenizer.json")))
CODES = np.tile(np.array([[1, 2, 3, 4, 5]], dtype=np.int16), (2, 1))


def question(wanted: bool) -> QaSample:
    """Return the first question drawn that has a history, or that has none."""
    rng = random.Random(1)
    while bool((qa := generate(rng, "train")).history) != wanted or qa.call or not qa.question:
        pass
    return qa


def composer(qa: QaSample, seed: int = 3) -> SampleComposer:
    made = SampleComposer(PromptBuilder(TOKENIZER, nano_vocab()), random.Random(seed))
    made.add([SpokenItem(qa.question, "flite-rms", CODES)], [qa])
    return made


def texts(sample: LmSample, marked: bool) -> str:
    kept = [i for i, m in zip(sample.ids, sample.mask, strict=True) if m or not marked]
    decoder = TOKENIZER.open_decoder()
    pieces = [piece for i in kept if i < nano_vocab().audio_base for piece in decoder.push(i)]
    return "".join([*pieces, *decoder.flush()])


def test_two_fifths_of_the_questions_of_their_own_come_after_something_else() -> None:
    made = composer(question(wanted=False))
    turns = [texts(made.spoken(), marked=False).count("human\n") for _ in range(400)]
    assert sum(n > 1 for n in turns) / 400 == pytest.approx(
        UNRELATED + (1 - UNRELATED) * IN_MANNER, abs=0.07
    )
    assert {1, 2, 3} <= set(turns) <= set(range(1, 8))


def test_a_follow_up_keeps_the_history_it_follows() -> None:
    qa = question(wanted=True)
    made = composer(qa)
    for _ in range(50):
        text = texts(made.spoken(), marked=False)
        assert text.count("human\n") == 1 + len(qa.history)
        assert all(past.question in text for past in qa.history)


def test_what_was_said_before_is_shown_and_not_learned() -> None:
    qa = question(wanted=False)
    made = composer(qa)
    for _ in range(50):
        learned = texts(made.spoken(), marked=True)
        # What was heard, then what is answered (its end follows its sound, and is cut here).
        assert learned.startswith(qa.question)
        assert "human" not in learned
        assert len(learned) <= len(qa.question) + len(qa.answer) + 20


def test_typed_questions_keep_their_words() -> None:
    rng = random.Random(0)
    written = {as_typed("what time is it in london", rng) for _ in range(200)}
    assert {w.lower().rstrip("?.!") for w in written} == {"what time is it in london"}
    assert {"What time is it in london?", "WHAT TIME IS IT IN LONDON"} <= written


def test_a_third_of_the_typed_questions_are_there_to_be_copied_from() -> None:
    made, bare = composer(question(wanted=False)), random.Random(4)
    asked = [made._typed_question().intent for _ in range(1500)]
    drawn = [generate(bare, "train").intent for _ in range(1500)]
    extra = (share_to_copy(asked) - share_to_copy(drawn)) / (1 - share_to_copy(drawn))
    assert extra == pytest.approx(COPIED, abs=0.05)
    assert len(set(asked)) > 15


def share_to_copy(intents: list[str]) -> float:
    return sum(intent in COPYING for intent in intents) / len(intents)


def test_some_questions_come_after_a_greeting_that_nobody_asked_for() -> None:
    made = composer(question(wanted=False))
    seen = [texts(made.spoken(), marked=False) for _ in range(600)]
    greeted = [text for text in seen if text.index("assistant\n") < text.index("human\n")]
    assert len(greeted) / 600 == pytest.approx(GREETED, abs=0.03)
    assert all(greetings()[0] in text for text in greeted)


def test_the_model_learns_to_speak_first() -> None:
    made = composer(question(wanted=False))
    first = [s for s in (made.typed() for _ in range(300)) if "human\n" not in texts(s, False)]
    assert len(first) / 300 == pytest.approx(GREETED, abs=0.04)
    assert {texts(sample, marked=True) for sample in first} <= {
        greetings()[0][:n] for n in range(1, 1 + len(greetings()[0]))
    }


def test_what_was_asked_of_tools_before_is_shown_as_serving_shows_it() -> None:
    made = composer(question(wanted=False))
    seen = [texts(made.spoken(), marked=False) for _ in range(200)]
    asked = [text for text in seen if "tool\n" in text]
    assert len(asked) > 20
    for text in asked:
        called = text[: text.index("tool\n")].rstrip()
        assert called.endswith("}")  # the arguments of the call
        assert text.index("assistant\n") < text.index("tool\n") < text.rindex("human\n")


@pytest.mark.parametrize("follows_up", [True, False])
def test_past_answers_are_broken_off_now_and_then_but_none_that_is_followed_up(
    follows_up: bool,
) -> None:
    made = composer(question(wanted=follows_up))
    broken = 0
    for _ in range(150):
        *past, _ = texts(made.spoken(), marked=False).split("assistant\n")[1:]
        said = [turn.split("human\n")[0].rstrip() for turn in past if "tool\n" not in turn]
        broken += sum(answer[-1:] not in {".", "!", "?"} for answer in said)
    assert (broken == 0) if follows_up else (broken > 5)


def test_what_was_asked_for_lasts_and_nothing_else_changes_an_answer() -> None:
    qa = generate_intent(random.Random(2), "fact", "train")
    made = composer(qa)
    made.add_answers([SpokenItem(text, "x", CODES) for text in ("Ahoy!", "Beep!", qa.answer)])
    fast = pirate = plain = 0
    for _ in range(1500):
        sample = made.spoken()
        *past, now = texts(sample, marked=False).split("human\n")[1:]
        begun = [turn.split("assistant\n")[1] for turn in past if "assistant\n" in turn]
        answer = texts(sample, marked=True).removeprefix(qa.question)
        if begun and all("Ahoy!" in turn for turn in begun):
            pirate += 1
            assert "Ahoy!" in answer
        elif "(fast) All right, I will speak faster." in "".join(begun[-1:]):
            fast += 1
            assert "(fast)" in answer
        elif "role" not in now and not any("(" in turn or "!" in turn for turn in begun):
            plain += 1
            assert "(" not in answer
            assert "!" not in answer
    assert pirate > 3
    assert fast
    assert plain > 800


def test_an_answer_stands_behind_its_tags() -> None:
    rng = random.Random(5)
    seen = set()
    for _ in range(300):
        qa = generate_intent(rng, "style", "train")
        learned = texts(composer(qa).spoken(), marked=True).removeprefix(qa.question)
        tags = delivery(qa).tags
        assert learned.strip().startswith(tags or "All")
        seen.add(tags)
    assert {"(fast)", "(whisper)", "(loud2)", ""} <= seen
