import pytest

from step_audio.core.profile import LanguageCode
from step_audio.dialog.speakable.scripts import UnreadableText, readable, refuse_unreadable

ENGLISH: tuple[LanguageCode, ...] = ("en",)
ASIAN: tuple[LanguageCode, ...] = ("zh", "en", "ja", "ko")


@pytest.mark.parametrize(
    ("text", "languages", "named"),
    [
        ("Привет, мир.", ENGLISH, "Cyrillic"),
        ("Hello. Привет, мир. Bye.", ENGLISH, "'Привет, мир.'"),
        ("Мне 5 лет.", ENGLISH, "Cyrillic"),
        ("你好，世界。", ENGLISH, "Chinese letters"),
        ("कैसे हो?", ASIAN, "Devanagari"),
        ("Привет, мир.", ASIAN, "reads Chinese, English, Japanese and Korean;"),
        ("Ω", ENGLISH, "Greek"),
    ],
)
def test_a_sentence_in_letters_the_model_was_not_taught_is_refused(
    text: str, languages: tuple[LanguageCode, ...], named: str
) -> None:
    with pytest.raises(UnreadableText, match="this model reads") as refused:
        refuse_unreadable(text, languages)
    assert named in str(refused.value)
    assert refused.value.code == "unreadable_text"


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("Ça va? ¡Olé! Æther, Łódź.", ENGLISH),
        ("The word привет means hello.", ENGLISH),
        ("5 µ, 10 Ω", ENGLISH),
        ("42. ½! * * * 😀", ENGLISH),
        ("ｈｅｌｌｏ", ENGLISH),
        ("日々、コーヒーです。 안녕! 你好！", ASIAN),
        ("Привет, мир.", ()),
        ("", ENGLISH),
    ],
)
def test_what_can_be_read_at_least_in_part_is_not_refused(
    text: str, languages: tuple[LanguageCode, ...]
) -> None:
    refuse_unreadable(text, languages)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The word «привет» means hello.", "The word means hello."),
        ("Hello नमस्ते friend.", "Hello friend."),
        ("Привет!", ""),
        ("cafe\u0301 naïve", "cafe\u0301 naïve"),
        ("“Good” — yes…", "“Good” — yes…"),
    ],
)
def test_words_in_other_letters_are_left_out_of_a_sentence(text: str, read: str) -> None:
    assert readable(text, ENGLISH) == read


def test_a_model_without_stated_languages_is_given_everything() -> None:
    assert readable("Hello, мир.", ()) == "Hello, мир."
