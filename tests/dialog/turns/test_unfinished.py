import pytest

from step_audio.dialog.turns.unfinished import goes_on


@pytest.mark.parametrize(
    "words",
    [
        "what is twelve plus",
        "What is the",
        "what is three times",
        "the capital of",
        "tell me a joke and",
        "what's",
        "what\N{RIGHT SINGLE QUOTATION MARK}s",
        "set a timer for um",
        "well...",
        "red, green,",
    ],
)
def test_words_that_hardly_end_a_question(words: str) -> None:
    assert goes_on(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "what is twelve plus thirty",
        "do you know what time it is",
        "where are you from",
        "how many times",
        "What is it made of?",
        "thank you.",
        "今天天气怎么样",
    ],
)
def test_words_that_may_end_one(words: str) -> None:
    assert not goes_on(words)
