"""The reading chain: the rules that turn a written sentence into what is read aloud, in order.

Each rule is tested by its own examples (tests/dialog/speakable/test_rules.py): what it is given,
and what it alone makes of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from step_audio.core.types import TextOptions
from step_audio.dialog.speakable import (
    addresses,
    amounts,
    characters,
    chinese,
    dates,
    markup,
    normalization,
    symbols,
    units,
)

Part = Literal["", "markdown", "numbers"]
Written = Literal["any", "en", "zh"]

_CJK: Final = re.compile(r"[\u3400-\u9fff]")
_LATIN: Final = re.compile(r"[A-Za-z\u00c0-\u024f]")

Apply = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of the chain.

    Attributes:
        name: by which people speak of it.
        does: what it does, in a sentence.
        apply: the step itself.
        examples: written, and what this rule alone makes of it.
        part: what switches it off (`TextOptions`); "": nothing does.
        written: the language of the sentences that it reads.
    """

    name: str
    does: str
    apply: Callable[[str, TextOptions], str]
    examples: tuple[tuple[str, str], ...]
    part: Part = ""
    written: Written = "any"


def _always(apply: Apply) -> Callable[[str, TextOptions], str]:
    return lambda text, _: apply(text)


def _addresses(language: str) -> Callable[[str, TextOptions], str]:
    return lambda text, options: addresses.read_addresses(text, language, options.addresses)


def _names(language: str) -> Callable[[str, TextOptions], str]:
    return lambda text, _: addresses.read_names(text, language)


READING: Final[tuple[Rule, ...]] = (
    Rule(
        "quoted lines",
        "Lines broken to fit a page go on without mail's marks of quotation.",
        _always(markup.without_quotation),
        (("a long line\n> that goes on\n>> in mail", "a long line\nthat goes on\nin mail"),),
        part="markdown",
    ),
    Rule(
        "characters",
        "Letters in costume, other scripts' digits, cut words, marks without width become plain.",
        _always(characters.cleaned),
        (
            ("𝐇𝐞𝐥𝐥𝐨 ＨＥＬＬＯ 🅷🅸", "Hello HELLO HI"),
            ("٤٢ and १५", "42 and 15"),
            ("nega-\ntive", "negative"),
            ("self-\nmade", "self-made"),
            ("a\u202eb\u200bc\x00", "abc"),
            ("1½ m² H₂O", "1 1/2 m^2 H2O"),
            ("раypal", "paypal"),
        ),
    ),
    Rule(
        "blocks",
        "Fences, rulers, bars of tables, marks of lists, headings and quotations go.",
        _always(markup.without_blocks),
        (
            ("| Name | Age |", "Name, Age"),
            ("|---|:-:|", ""),
            ("## Title ##", "Title"),
            ("```python", ""),
            ("- [ ] buy milk", "buy milk"),
            ("> > said", "said"),
            ("> 5", "5"),
        ),
        part="markdown",
    ),
    Rule(
        "links",
        "Links, pictures, footnotes and BBCode leave their words, or their address.",
        _always(markup.without_links),
        (
            ("[the page](https://a.example/b c.html)", "the page"),
            ("[![badge](b.svg)](http://x.y)", "badge"),
            ("[](https://x.org)", "https://x.org"),
            ("[[Page|text]] [^1]", "text "),
            ("[b]bold[/b]", "bold"),
        ),
        part="markdown",
    ),
    Rule(
        "tags",
        "Known tags of HTML and SSML go, entities become characters; what is no tag stays.",
        _always(markup.without_tags),
        (
            ("<b>Bold</b> H<sub>2</sub>O<br>next", "Bold H2O next"),
            ("AT&amp;T &lt;b&gt;", "AT&T <b>"),
            ("If a<b and c>d, List<String>", "If a<b and c>d, List<String>"),
            ("John <john@x.org>", "John , john@x.org "),
            ("<!-- no -->yes", " yes"),
        ),
        part="markdown",
    ),
    Rule(
        "angles",
        "What stands in angle brackets and is no tag keeps its words.",
        _always(markup.without_angles),
        (
            ("Dear <name>, run it <dir>", "Dear name, run it dir"),
            ("<happy>ok</happy> then", " happy ok  then"),
            ("a<b and c>d, x <y", "a<b and c>d, x <y"),
        ),
        part="markdown",
    ),
    Rule(
        "formulas",
        "TeX between dollars or its brackets becomes plain signs; sums of money are no formulas.",
        _always(markup.without_tex),
        (
            ("$\\frac{a}{b} \\leq x^{2}$", "a over b ≤ x^2"),
            ("$5 and $10", "$5 and $10"),
        ),
        part="markdown",
    ),
    Rule(
        "emphasis",
        "Marks of bold, slanted, struck, highlighted and code go.",
        _always(markup.without_emphasis),
        (
            ("**bold** *it* ==mark== `code` ~~no~~", "bold it mark code no"),
            ("2*3 snake_case x**2", "2*3 snake_case x^2"),
        ),
        part="markdown",
    ),
    Rule(
        "faces",
        "Faces made of marks go; hearts, names of emoji and of speakers become words.",
        _always(symbols.without_faces),
        (
            ("ok :) ;-)", "ok    "),
            ("I <3 you", "I love you"),
            ("if x <3", "if x <3"),
            ("<alice> hi :thumbs_up:", "alice, hi  thumbs up "),
        ),
    ),
    Rule(
        "addresses",
        "Addresses of the web, of mail and of machines are spelled as people say them.",
        _addresses("en"),
        (
            ("Go to example.com.", "Go to  example dot com ."),
            ("https://www.x.org/a-b?c=1", " x dot org slash a dash b question mark c equals 1 "),
            ("john@x.org", " john at x dot org "),
            ("192.168.1.1", " 1 9 2 dot 1 6 8 dot 1 dot 1 "),
        ),
        written="en",
    ),
    Rule(
        "names",
        "Names of files, accounts and tags are spelled; a point without its space gets one.",
        _names("en"),
        (
            ("see a/b/c.txt", "see  a slash b slash c dot txt "),
            ("node.js and @me #MeToo", "node dot js and at me hashtag Me Too"),
            ("Hello.World", "Hello. World"),
            ("e.g. U.S.", "e.g. U.S."),
        ),
        written="en",
    ),
    Rule(
        "Chinese addresses",
        "The same in Chinese.",
        _addresses("zh"),
        (
            ("请看example.com。", "请看 example 点 com 。"),
            ("发到a@b.org", "发到 a 艾特 b 点 org "),
        ),
        written="zh",
    ),
    Rule(
        "Chinese names",
        "The same in Chinese.",
        _names("zh"),
        (("打开a.txt，关注@me", "打开a 点 txt，关注 艾特me"),),
        written="zh",
    ),
    Rule(
        "print",
        "Typographic quotes and dashes become those of a keyboard; Chinese print keeps its own.",
        _always(symbols.plain_print),
        (
            ("It’s “fine”—yes – no…", 'It\'s "fine", yes, no...'),
            ("10–12", "10-12"),
            ("他说：“好——”", "他说：“好——”"),
        ),
    ),
    Rule(
        "abbreviations",
        "Titles, streets, chapters; 'No.' is a word where no number follows.",
        _always(normalization.read_abbreviations),
        (
            ("Dr. Smith, e.g.", "doctor Smith, for example"),
            ("No. 5. No.", "Number 5. No."),
            ("Baker St. in St. Louis", "Baker Street in Saint Louis"),
            ("Act IV, Henry VIII, World War II", "Act four, Henry the eighth, World War two"),
        ),
        written="en",
    ),
    Rule(
        "telephones",
        "Numbers of telephones, cards and codes are read digit by digit.",
        _always(dates.read_telephones),
        (
            ("Call 1300 555 019.", "Call one three zero zero, five five five, zero one nine."),
            (
                "+44 20 7946 0958",
                "plus four four, two zero, seven nine four six, zero nine five eight",
            ),
            ("(555) 123-4567", "five five five, one two three, four five six seven"),
            ("Dial 911.", "Dial nine one one."),
            ("1-800-FLOWERS", "one, eight zero zero, FLOWERS"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "money",
        "Sums of money in any country's way, with their factors, ranges and rates.",
        _always(amounts.read_money),
        (
            ("$5.3 billion", "five point three billion dollars"),
            ("$1.5M, £1bn", "one point five million dollars, one billion pounds"),
            ("$1,234.5", "one thousand two hundred thirty four dollars and fifty cents"),
            ("-$5", "minus five dollars"),
            ("€1.000,50", "one thousand euros and fifty cents"),
            ("5 USD, 50¢", "five U S dollars, fifty cents"),
            ("$5-10, $20/hr", "five to ten dollars, twenty dollars per hour"),
            ("a $5 bill", "a five dollar bill"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "dates",
        "Dates, years and decades.",
        _always(dates.read_dates),
        (
            ("1/5/24", "January fifth, twenty twenty four"),
            ("31.12.1999", "December thirty first, nineteen ninety nine"),
            ("2024-05-12T10:30:00Z", "May twelfth, twenty twenty four, at ten thirty U T C"),
            ("the 1900s, the '90s", "the nineteen hundreds, the nineties"),
            ("9/11, 24/7, 10/10", "nine eleven, twenty four seven, 10 out of 10"),
            ("5 May 2024", "the fifth of May twenty twenty four"),
            ("1939–1945", "nineteen thirty nine to nineteen forty five"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "times",
        "Times of day.",
        _always(dates.read_times),
        (
            ("3:05 PM, 15:42", "three oh five p m, fifteen forty two"),
            ("7am-9pm", "seven a m to nine p m"),
            ("a 3:2 ratio", "a 3:2 ratio"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "letters behind figures",
        "A factor where many follow, else the letter.",
        _always(amounts.read_lettered),
        (
            ("2m users, 7B parameters", "two million users, seven billion parameters"),
            ("Seat 12B", "Seat 12 B"),
            ("1.5M", "one point five million"),
            ("5-10k", "five to ten thousand"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "units",
        "Units of measure.",
        _always(units.read_units),
        (
            ("5kg, 1 mile, 1 km/h", "5 kilograms, 1 mile, 1 kilometer per hour"),
            ("120mmHg, 3mmol/L", "120 millimeters of mercury, 3 millimoles per liter"),
            ("a 20 km walk", "a 20 kilometer walk"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "grouped figures",
        "Marks between thousands, and the decimal comma.",
        _always(amounts.read_grouped),
        (
            ("10 000", "ten thousand"),
            ("1,234.5", "one thousand two hundred thirty four point five"),
            ("1.234,5", "one thousand two hundred thirty four point five"),
            ("3,5", "three point five"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "Greek letters",
        "A Greek letter that stands for a quantity has its name.",
        _always(symbols.named_letters),
        (
            ("2πr, α-helix", "2 pi r, alpha-helix"),
            ("γειά", "γειά"),
        ),
    ),
    Rule(
        "symbols",
        "Signs between and around words.",
        _always(symbols.read_symbols),
        (
            ("a<b, c > d, x <= y", "a less than b, c greater than d, x  less than or equal to y"),
            ("~5, 10±2, x^2", "about 5, 10 plus or minus 2, x squared"),
            ("A -> B & C++", "A to B and C plus plus"),
            ("he/she and/or", "he or she and or"),
            ("Map<K, List<V>>", "Map K, List V  "),
            ("50% off, -5", "50 percent off, minus 5"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "figures",
        "Figures, one at a time, by wetext's English grammar where that reads them right.",
        _always(normalization.read_figures),
        (
            ("42 and 2024", "forty two and twenty twenty four"),
            ("B2B, MP3, GPT-4, 21st", "B two B, MP three, GPT four, twenty first"),
            (
                "1/2, 2 1/2, 5-10, 3.14",
                "one half, two and a half, five to ten, three point one four",
            ),
            ("1e-5, 0.5", "one times ten to the power of minus five, zero point five"),
        ),
        part="numbers",
        written="en",
    ),
    Rule(
        "Chinese amounts",
        "Sums, units, ranges and telephones that wetext's Chinese grammar misreads.",
        _always(chinese.read_chinese),
        (
            ("￥5亿和$3.5万", "5亿元和3.5万美元"),
            ("血压120mmHg，3mmol/L", "血压120毫米汞柱，3毫摩尔每升"),
            ("3-5天，第1-3章", "3到5天，第1至第3章"),
            ("电话138-0013-8000", "电话幺三八，零零幺三，八零零零"),
        ),
        part="numbers",
        written="zh",
    ),
    Rule(
        "Chinese symbols",
        "Signs between and around Chinese words.",
        _always(symbols.read_chinese_symbols),
        (
            ("a<b，≥5，男/女", "a小于b，大于等于5，男、女"),
            ("3×4", "3乘以4"),
        ),
        part="numbers",
        written="zh",
    ),
    Rule(
        "Chinese figures",
        "What is left, by wetext's Chinese grammar.",
        _always(normalization.read_chinese_figures),
        (
            ("2024年5月12日", "二零二四年五月十二日"),
            ("12:30，50%", "十二点三十分，百分之五十"),
        ),
        part="numbers",
        written="zh",
    ),
    Rule(
        "signs",
        "What nobody can say goes: emoji, brackets, bars; marks and spaces are put in order.",
        lambda text, options: symbols.without_signs(text, numbers=options.numbers),
        (
            ("Great 😀👍🏽 news!", "Great news!"),
            ("a|b [c] {d}", "a, b, c, d"),
            ("well , yes!!!", "well, yes!"),
        ),
    ),
)


def language_of(text: str, *, chinese: bool = True) -> str:
    """Return the language whose words figures become: "en", "zh", or "other" for neither."""
    if chinese and _CJK.search(text):
        return "zh"
    return "en" if _LATIN.search(text) or not any(c.isalpha() for c in text) else "other"


def read_sentence(text: str, options: TextOptions, *, chinese: bool = True) -> str:
    """Return one written sentence as it is read aloud; "" when nobody would say anything.

    Args:
        text: at most as long as a sentence of `sentences`.
        options: what of it is read.
        chinese: whether the model reads Chinese; else figures are read in English anyway.
    """
    for rule in READING:
        if rule.part and not getattr(options, rule.part):
            continue
        if rule.written != "any" and rule.written != language_of(text, chinese=chinese):
            continue
        text = rule.apply(text, options)
    return text if any(c.isalnum() for c in text) else ""
