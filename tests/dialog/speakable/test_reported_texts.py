"""Texts of public bug reports, and others of their kind, by family of the reports."""

import pytest

from step_audio.core.profile import LanguageCode
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.reader import SentenceReader, check_text, read_text
from step_audio.dialog.speakable.scripts import UnreadableText
from step_audio.dialog.speakable.sentences import sentences

ENGLISH: tuple[LanguageCode, ...] = ("en",)
Cases = tuple[tuple[str, str], ...]


def reading(text: str, languages: tuple[LanguageCode, ...] = (), **options: object) -> str:
    asked = TextOptions(**options)  # type: ignore[arg-type]
    return " | ".join(spoken.text for spoken in read_text(text, asked, languages))


FAMILIES: dict[str, Cases] = {
    "7 nothing with letters is silent": (
        ("Go to example.com.", "Go to example dot com."),
        (
            "Visit www.python.org/downloads for more.",
            "Visit python dot org slash downloads for more.",
        ),
        ("Ask me at jane@mail.example.co.uk!", "Ask me at jane at mail dot example dot co dot uk!"),
        ("README.md", "README dot md"),
        (
            "C:\\Users\\me\\notes.txt",
            "C colon backslash Users backslash me backslash notes dot txt",
        ),
        ("a.b.c", "a.b.c"),
        ("[](https://x.org)", "x dot org"),
        ("![](cat.png)", "cat dot png"),
        ("```python", "python"),
        ("_x_", "x"),
        ("<foo>", "foo"),
        ("@me", "at me"),
        ("#tag", "hashtag tag"),
        ("x", "x"),
        ("请访问example.com。", "请访问 example 点 com。"),
    ),
    "8 numbers and amounts": (
        ("No.", "No."),
        ("No. I won't.", "No. | I won't."),
        ('"No." she said.', '"No." | she said.'),
        ("No. 5 is mine, not no. 6.", "Number five is mine, not number six."),
        ("It cost $5.3 billion.", "It cost five point three billion dollars."),
        ("$1.5M", "one point five million dollars"),
        ("$5m", "five million dollars"),
        ("$1,234.5", "one thousand two hundred thirty four dollars and fifty cents"),
        ("-$5", "minus five dollars"),
        ("−€3", "minus three euros"),
        ("£1bn", "one billion pounds"),
        ("$750k", "seven hundred fifty thousand dollars"),
        ("US$2.5tn", "two point five trillion U S dollars"),
        ("$0.99 or 50¢", "ninety nine cents or fifty cents"),
        ("$5-10", "five to ten dollars"),
        ("$20/hr", "twenty dollars per hour"),
        ("5 USD and EUR 3", "five U S dollars and three euros"),
        ("a $5 bill", "a five dollar bill"),
        ("₹500", "five hundred rupees"),
        ("Seat 12B is mine.", "Seat twelve B is mine."),
        ("B2B sales", "B two B sales"),
        ("2m users", "two million users"),
        ("2m tall", "two meters tall"),
        ("7B parameters", "seven billion parameters"),
        ("Gate 5M", "Gate five M"),
        ("10k runners", "ten thousand runners"),
        ("1.5k likes", "one point five thousand likes"),
        ("Row 7C", "Row seven C"),
        ("5-10k", "five to ten thousand"),
        ("R$10 and R$ 1,50", "ten reais and one real and fifty centavos"),
        ("MX$20", "twenty Mexican pesos"),
        ("I have 100K", "I have one hundred thousand"),
        ("€5,- each", "five euros each"),
        ("500 SEK or 40 BRL", "five hundred Swedish kronor or forty reais"),
        ("the 1,234th time", "the one thousand two hundred thirty fourth time"),
    ),
    "9 markup": (
        ("| Name | Age |\n|---|---|\n| Bob | 12 |", "Name, Age | Bob, twelve"),
        ('```python\nprint("hi")\n```', 'print "hi"'),
        ("The ==marked== word.", "The marked word."),
        ("AT&amp;T", "AT and T"),
        ("Tom &amp;amp; Jerry &lt;3", "Tom and Jerry love"),
        ("See [the page](https://a.example/b c.html) now.", "See the page now."),
        ("[![badge](b.svg)](http://x.y) [a][1] <https://x.org>", "badge a, x dot org"),
        ("If a<b and c>d, stop.", "If a less than b and c greater than d, stop."),
        ("John <john@x.org>", "John, john at x dot org"),
        ("I <3 you", "I love you"),
        ("List<String>", "List String"),
        ("Map<K, List<V>>", "Map K, List V"),
        ("x <y", "x less than y"),
        ("<b>Bold</b><br/>new H<sub>2</sub>O", "Bold new H two O"),
        ("<alice> hi", "alice, hi"),
        ("- [x] done", "done"),
        ("> > said", "said"),
        ("$\\frac{a}{b}$", "a over b"),
        ("[b]bold[/b]", "bold"),
        ("[[Page|text]]", "text"),
        ("Dear <name>, welcome.", "Dear name, welcome."),
        ("Usage: git clone <repo> <dir>", "Usage: git clone repo dir"),
        ("Run pip install <package>.", "Run pip install package."),
        ("Press <Ctrl+C> now.", "Press Ctrl plus C now."),
        ("GET /users/<id>/posts", "GET users slash id slash posts"),
        ("The <title> tag is empty.", "The title tag is empty."),
        ("Use <b> and <i> for that.", "Use b and i for that."),
        ("<think>hm</think>Yes.", "hm Yes."),
        ("<happy>ok</happy> then", "happy ok then"),
        ("std::vector<std::pair<int,int>>", "std vector std pair int, int"),
        ("Option<&str>", "Option str"),
        ("若x <y且y> z", "若x小于y且y大于z"),
        ("列表<字符串>", "列表字符串"),
        ("亲爱的<姓名>，您好", "亲爱的姓名，您好"),
        ("我<3你", "我爱你"),
    ),
    "10 lines, calls, dates and units": (
        ("It is nega-\ntive.", "It is negative."),
        ("It is nega\xad\n  tive.", "It is negative."),
        ("She is self-\nmade.", "She is self-made."),
        ("page one\x0cpage two", "page one page two"),
        ("Call 1300 555 019.", "Call one three zero zero, five five five, zero one nine."),
        ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
        ("(02) 9876 5432", "zero two, nine eight seven six, five four three two"),
        ("Dial 911.", "Dial nine one one."),
        ("1/5/24", "January fifth, twenty twenty four"),
        ("13/5/2024", "May thirteenth, twenty twenty four"),
        ("31.12.1999", "December thirty first, nineteen ninety nine"),
        ("2024-05-12T10:30:00Z", "May twelfth, twenty twenty four, at ten thirty U T C"),
        ("2024-05-12 22:15", "May twelfth, twenty twenty four, at twenty two fifteen"),
        ("10 000 people", "ten thousand people"),
        ("1 234 567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("€1.000,50", "one thousand euros and fifty cents"),
        ("1.234,5", "one thousand two hundred thirty four point five"),
        ("the 1900s", "the nineteen hundreds"),
        ("the '60s and 1980s", "the sixties and nineteen eighties"),
        ("9/11 and 24/7", "nine eleven and twenty four seven"),
        ("~5", "about five"),
        ("~$5", "about five dollars"),
        ("1½ cups", "one and a half cups"),
        ("¾ of it", "three quarters of it"),
        ("5′10″", "five foot ten"),
        (
            "5 km/h, 20°C, 500ml, 3 GHz",
            "five kilometers per hour, twenty degrees Celsius, five hundred milliliters, "
            "three gigahertz",
        ),
        ("7am-9pm", "seven a m to nine p m"),
        ("pages 5–7", "pages five to seven"),
        ("血压120mmHg", "血压一百二十毫米汞柱"),
        ("血糖3mmol/L", "血糖三毫摩尔每升"),
        ("￥5亿", "五亿元"),
        ("$3.5万", "三点五万美元"),
        ("¥1,000", "one thousand yen"),
        ("3-5天", "三到五天"),
        ("电话13800138000", "电话幺三八零零幺三八零零零"),
        ("100km/h", "one hundred kilometers per hour"),
        ("5mg/dL", "five milligrams per deciliter"),
        ("72次/分", "七十二次每分"),
        ("6ft 2in, a 12in ruler", "six feet two inches, a twelve inch ruler"),
        (
            "ISBN 978-3-16-148410-0",
            "ISBN nine seven eight, three, one six, one four eight four one zero, zero",
        ),
        ("2024-05", "May twenty twenty four"),
        ("10%-15%", "ten percent to fifteen percent"),
        ("2L/min and 60kg/m²", "two liters per minute and sixty kilograms per square meter"),
        ("12 fl oz, 5 µg/mL", "twelve fluid ounces, five micrograms per milliliter"),
        ("20240512T103000Z", "May twelfth, twenty twenty four, at ten thirty U T C"),
        ("c. 1900", "circa nineteen hundred"),
        ("5×10³", "five times ten cubed"),
        ("x = [1, 2]", "x equals, one, two"),
        ("座机010-8888 8888转123", "座机零幺零，八八八八，八八八八转幺二三"),
        ("10W人，5w+", "十万人，五万加"),
        ("邮编100000", "邮编幺零零零零零"),
        ("the 2008-09 season", "the two thousand eight to nine season"),
        ("Mon-Fri 9-5", "Monday to Friday nine to five"),
        ("due 05/12", "due May twelfth"),
        ("05/12", "May twelfth"),
    ),
    "11 costumes and signs": (
        ("𝐇𝐞𝐥𝐥𝐨", "Hello"),
        ("ＨＥＬＬＯ", "HELLO"),
        ("٤٢", "forty two"),
        ("१२:३०", "twelve thirty"),
        ("🅷🅴🅻🅻🅾", "HELLO"),
        ("Ⓗⓔⓛⓛⓞ", "Hello"),
        ("ʜᴇʟʟᴏ", "hello"),
        ("ⁿᵒʷ", "now"),
        ("H̶e̶l̶l̶o̶", "Hello"),
        ("раypal", "paypal"),
        ("ok ¯\\_(ツ)_/¯ then", "ok then"),
        ("a\u202eb\u2066c\u200b\x00d", "abcd"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("ﬁne", "fine"),
        ("①②", "one two"),
        ("🇺🇸 yes", "yes"),
        ("👍🏽 ok", "ok"),
        ("A → B", "A to B"),
        ("5 ≤ x ≠ y", "five less than or equal to x is not equal to y"),
        ("±5", "plus or minus five"),
        ("π", "pi"),
        ("§5", "section five"),
        ("©2024 Foo™", "copyright twenty twenty four Foo"),
    ),
    "12 brackets": (
        ("The film (English) was long.", "The film (English) was long."),
        ("这部电影（英文）很长。", "这部电影（英文）很长。"),
        ("He was (happy) then.", "He was (happy) then."),
    ),
}


def family(number: str) -> pytest.MarkDecorator:
    cases = next(cases for name, cases in FAMILIES.items() if name.startswith(number))
    return pytest.mark.parametrize(("written", "read"), cases)


@family("7 ")
def test_family_7_nothing_with_letters_ends_as_nothing(written: str, read: str) -> None:
    assert reading(written) == read
    assert reading(written) != ""


@pytest.mark.parametrize("text", ["<br>", "<!-- a note -->", "(happy)", "&nbsp;", "😀", "* * *"])
def test_family_7_marks_alone_are_a_pause(text: str) -> None:
    assert reading(text) == ""


@family("8 ")
def test_family_8_numbers_amounts_and_letters_behind_figures(written: str, read: str) -> None:
    assert reading(written) == read


@family("9 ")
def test_family_9_only_known_tags_are_markup(written: str, read: str) -> None:
    assert reading(written) == read


@family("10 ")
def test_family_10_lines_calls_dates_and_units(written: str, read: str) -> None:
    assert reading(written) == read


@family("11 ")
def test_family_11_costumes_of_letters_and_signs(written: str, read: str) -> None:
    assert reading(written) == read


@family("12 ")
def test_family_12_words_in_brackets_are_no_style_tags(written: str, read: str) -> None:
    assert reading(written) == read


def test_family_12_style_tags_can_be_switched_off() -> None:
    assert reading("(English) The film.") == "The film."
    assert reading("(English) The film.", style_tags=False) == "(English) The film."


def test_family_12_an_odd_sentence_is_left_out_on_request_and_named() -> None:
    text = "One. Привет, мир. Two."
    with pytest.raises(UnreadableText, match="Привет"):
        read_text(text, languages=ENGLISH)
    reader = SentenceReader(TextOptions(unreadable="skip"), ENGLISH)
    read = [spoken.text for written in sentences(text) for spoken in reader.read(written)]
    assert read == ["One.", "Two."]
    assert reader.warnings == [
        "left out 'Привет, мир.': this model was not taught Cyrillic letters"
    ]
    assert reading("Привет.", ENGLISH, unreadable="skip") == ""


def test_family_7_a_word_that_is_left_out_of_a_sentence_is_named() -> None:
    reader = SentenceReader(TextOptions(), ENGLISH)
    assert [s.text for s in reader.read("The word привет means hello.")] == [
        "The word means hello."
    ]
    assert reader.warnings == ["left out 'привет': this model was not taught such letters"]
    assert check_text("The word привет means hello.", TextOptions(), ENGLISH) == reader.warnings


@pytest.mark.parametrize(
    ("text", "options", "read"),
    [
        ("See https://x.org/a?b.", {"addresses": "host"}, "See x dot org."),
        ("See https://x.org/a?b now.", {"addresses": "omit"}, "See now."),
        ("Ask a@x.org.", {"addresses": "omit"}, "Ask."),
        ("It costs $5 on 1/5/24, 50%.", {"numbers": False}, "It costs $5 on 1/5/24, 50%."),
        ("# Title *x*", {"markdown": False}, "Title x"),
        ("a<b>c AT&amp;T", {"markdown": False}, "a less than b greater than c AT and amp;T"),
        ("价格￥5亿。", {"numbers": False}, "价格¥5亿。"),
    ],
)
def test_what_is_read_is_asked_for(text: str, options: dict[str, object], read: str) -> None:
    assert reading(text, **options) == read  # type: ignore[arg-type]


def test_a_model_of_words_alone_is_given_words_alone() -> None:
    text = "On 5/1/24 at 7:05 ~12% of $1,234.5 (α≤β²) went to x.org — 𝐨𝐤 😀 & “fine” №5: naïve…"
    said = reading(text, ENGLISH)
    assert set(said) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZï ,.?!:;'\"()-|")


def test_a_style_holds_until_the_next_however_the_text_is_cut() -> None:
    reader = SentenceReader()
    tags = [
        ["".join(spoken.style.tags) for spoken in reader.read(written)]
        for written in ("(sad) One.", "Two (English) too.", "(happy)", "Three.")
    ]
    assert tags == [["悲伤1"], ["悲伤1"], [], ["高兴1"]]
