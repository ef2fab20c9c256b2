"""What the whole chain reads of texts as people send them."""

import pytest

from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.reader import read_text


def reading(text: str, options: TextOptions = TextOptions()) -> str:  # noqa: B008 - frozen
    return " | ".join(spoken.text for spoken in read_text(text, options))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("It is -7°C, 50%.", "It is minus seven degrees Celsius, fifty percent."),
        (
            "120 and 234,567.",
            "one hundred twenty and two hundred thirty four thousand five hundred sixty seven.",
        ),
        ("On May 5, 2024.", "On May fifth, twenty twenty four."),
        ("In the 1990s.", "In the nineteen nineties."),
        ("At 7:05 or 15:42.", "At seven oh five or fifteen forty two."),
        ("At 3:45 pm.", "At three forty five p m."),
        ("It costs $3.50.", "It costs three dollars and fifty cents."),
        ("It costs £7.00.", "It costs seven pounds."),
        ("Dr. Smith, No. 5.", "doctor Smith, number five."),
        ("Main St. is 100 m long.", "Main Street is one hundred meters long."),
        ("St. Paul is 20 km away.", "Saint Paul is twenty kilometers away."),
        ("Fruit, e.g. apples, weighs 5kg.", "Fruit, for example apples, weighs five kilograms."),
        (
            "It costs $1,234.56, not $1500 or $1,000,000.",
            "It costs one thousand two hundred thirty four dollars and fifty six cents, "
            "not one thousand five hundred dollars or one million dollars.",
        ),
        ("$0.99, 24/7.", "ninety nine cents, twenty four seven."),
        ("1,005 people.", "one thousand five people."),
        ('She said "5 apples".', 'She said "five apples".'),
        ("We live in St. Louis, on Baker St.", "We live in Saint Louis, on Baker Street."),
        ("CHAPTER XIV", "CHAPTER fourteen"),
        (
            "Act I, Scene IV of Part II; what Part I played.",
            "Act one, Scene four of Part two; what Part I played.",
        ),
        ("Call (555) 123-4567.", "Call five five five, one two three, four five six seven."),
        ("From 5 p.m. to 8 a.m., on Jan. 5.", "From five p m to eight a m, on January fifth."),
        ("On 5 May 2024.", "On the fifth of May twenty twenty four."),
        ("From 1990-1995.", "From nineteen ninety to nineteen ninety five."),
        (
            "It grew 1.5M to $2.5B.",
            "It grew one point five million to two point five billion dollars.",
        ),
        (
            "Use v1.2.3 at 10 m/s.",
            "Use version one point two point three at ten meters per second.",
        ),
        ("用GPT-4读第1-3章。", "用GPT 四读第一至第三章。"),
        ('他说"5个"。', '他说"五个"。'),
        ("Call 555-1234.", "Call five five five, one two three four."),
        ("3 x 4 = 12, 7 - 2 = 5", "three times four equals twelve, seven minus two equals five"),
        ("价格￥3.50。", "价格三点五零元。"),
        ("今天是2024年5月12日。", "今天是二零二四年五月十二日。"),
        ("气温-7°C，50%。", "气温负七摄氏度，百分之五十。"),
    ],
)
def test_figures_and_abbreviations_are_read_as_words(written: str, read: str) -> None:
    assert reading(written) == read


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("It’s “fine”, isn’t it?", "It's \"fine\", isn't it?"),
        ("He came—and went – at last -- gone.", "He came, and went, at last, gone."),
        ("From 10–12 men.", "From 10-12 men."),
        ("A well-known twenty-one year-old.", "A well-known twenty-one year-old."),
        ("Wait… what?", "Wait... | what?"),
        ("soft\xadhyphen and\xa0spaces\u200b.", "softhyphen and spaces."),
        ("a line\nand a\r\nnext", "a line | and a | next"),
        ("The ﬁrst oﬃce.", "The first office."),
        ("**Bold** and *slanted* and `code`.", "Bold and slanted and code."),
        ("**Bold over a sentence.", "Bold over a sentence."),
        ("Its end.**", "Its end."),
        ("_Slanted_ but not snake_case.", "Slanted but not snake case."),
        ("2*3 is 6.", "2*3 is 6."),
        ("## A heading", "A heading"),
        ("- one thing", "one thing"),
        ("> said before", "said before"),
        ("#1 is best", "#1 is best"),
        ("-7°C tonight", "-7°C tonight"),
        ("See [the page](https://a.example/b?c=d) now.", "See the page now."),
        ("<b>Bold</b> but 3 < 4 > 2.", "Bold but 3 < 4 > 2."),
        ("Great 😀👍🏽 news!", "Great news!"),
        ("naïve café", "naïve café"),
        ("他说：“好的——再见……”", "他说：“好的——再见……”"),
        ("**重要**：请注意。", "重要：请注意。"),
    ],
)
def test_print_becomes_plain_text(printed: str, read: str) -> None:
    assert reading(printed, TextOptions(numbers=False)) == read


@pytest.mark.parametrize("printed", ["* * *", "***", "---", "—", "“…”", "😀", "", " ", "|---|---|"])
def test_what_has_no_word_in_it_is_nothing(printed: str) -> None:
    assert reading(printed) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Twelve plus thirty is forty two.",
        "He can go, so can I.",
        "What's the time, please?",
        "I can't: sorry; bye!",
        "你好，世界。",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert reading(text) == text


@pytest.mark.parametrize(
    "text", ["10^6 #1 @home of $20 & 3/4", "1" * 300, "\x00 5 \ufffd", "5'10\""]
)
def test_what_no_grammar_reads_never_fails(text: str) -> None:
    assert reading(text)
