import pytest

from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import (
    Conversation,
    MultiPartMessage,
    Typed,
    WrittenPart,
)
from step_audio.dialog.prompting.prompt import Text
from step_audio.dialog.prompting.rendering import turns
from step_audio.dialog.prompting.typed_questions import MOST_CHARS, in_words
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, services


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("What is 12 + 30?", "What is twelve plus thirty?"),
        ("12+30", "what is twelve plus thirty?"),
        ("12 + 30 = ?", "what is twelve plus thirty?"),
        ("10-4", "what is ten minus four?"),
        ("100/4", "what is one hundred divided by four?"),
        ("what's 7*8", "what's seven times eight"),
        ("What is 5 x 3?", "What is five times three?"),
        ("whats 100/4", "what is one hundred divided by four"),
        ("Convert 10 miles to km", "what is ten miles in kilometers"),
        ("thx", "thanks"),
        ("Im late, isn't that bad?", "I am late, is not that bad?"),
        ("I can't, it's late", "I can not, it is late"),
        ("hip dont", "hip do not"),
        ("10 - 4", "what is ten minus four?"),
        ("25°C in F", "twenty five degrees Celsius in Fahrenheit"),
        ("set a timer for 5 min", "set a timer for five minutes"),
        ("What's 50% of 20?", "What's fifty percent of twenty?"),
        ("What is the capital of France?", "What is the capital of France?"),
        ("hi", "hello"),
        ("Hi!", "Hello!"),
        ("???", "???"),
        ("", ""),
    ],
)
def test_what_is_typed_becomes_what_would_be_said(typed: str, said: str) -> None:
    assert in_words(typed, ("en",)) == said


@pytest.mark.parametrize("typed", ["What happened on 9/11?", "Who won 3-2?", "Call 555-1234."])
def test_signs_between_figures_that_are_no_sum_stay_what_they_are(typed: str) -> None:
    said = in_words(typed, ("en",))
    assert "minus" not in said
    assert "divided" not in said


def test_letters_that_the_model_does_not_know_are_left_to_it() -> None:
    assert in_words("Что это?", ("en",)) == "Что это?"


def test_of_a_very_long_text_only_the_beginning_is_read() -> None:
    typed = "12 " * MOST_CHARS
    assert in_words(typed).startswith("twelve")
    assert in_words(typed).endswith("12 ")


def test_only_what_the_user_typed_is_put_into_words() -> None:
    talk = Conversation()
    talk.add(Typed("a", "system", "Rule 1"))
    talk.add(Typed("b", "human", "2"))
    talk.add(MultiPartMessage("c", "human", (WrittenPart("3"), WrittenPart("4"))))
    shown = [part for turn in turns(talk, "", typed=in_words) for part in turn.parts]
    assert [part.text for part in shown if isinstance(part, Text)] == [
        "Rule 1",
        "two",
        "three\nfour",
    ]


@pytest.mark.parametrize("in_words", [True, False])
async def test_a_profile_says_whether_its_model_is_shown_words(in_words: bool) -> None:
    engine = ScriptedEngine([[VOCAB.eot]])
    parts = services(engine)
    assistant = Assistant(parts, DialogSettings(typed_in_words=in_words, languages=("en",)))
    talk = Conversation()
    talk.add(Typed("a", "human", "12+30"))
    _ = [event async for event in assistant.answer(talk, aloud=False)]
    await assistant.aclose()
    words = "what is twelve plus thirty?" if in_words else "12+30"
    ids = parts.text_tokenizer.encode(words)[1:]
    prompt = list(engine.requests[0].prompt)
    assert any(prompt[at : at + len(ids)] == ids for at in range(len(prompt)))
