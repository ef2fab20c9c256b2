import pytest

from step_audio.dialog.speakable.markup import plain


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("It’s “fine”, isn’t it?", "It's \"fine\", isn't it?"),
        ("He came—and went – at last -- gone.", "He came, and went, at last, gone."),
        ("From 10–12 men.", "From 10-12 men."),
        ("A well-known twenty-one year-old.", "A well-known twenty-one year-old."),
        ("Wait… what?", "Wait... what?"),
        ("soft\u00adhyphen and\u00a0spaces\u200b.", "softhyphen and spaces."),
        ("a line\nand a\r\nnext", "a line and a next"),
        ("The ﬁrst oﬃce.", "The first office."),
        ("**Bold** and *slanted* and `code`.", "Bold and slanted and code."),
        ("**Bold over a sentence.", "Bold over a sentence."),
        ("Its end.**", "Its end."),
        ("_Slanted_ but not snake_case.", "Slanted but not snake_case."),
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
    assert plain(printed) == read


@pytest.mark.parametrize("printed", ["* * *", "***", "---", "—", "“…”", "😀", "", " ", "|---|---|"])
def test_what_has_no_word_in_it_is_nothing(printed: str) -> None:
    assert plain(printed) == ""


@pytest.mark.parametrize(
    "text", ["Twelve plus 30 is 42.", "What's the time, please?", "I can't: sorry; bye!"]
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text
