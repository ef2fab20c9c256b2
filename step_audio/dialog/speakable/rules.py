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


READING: Final[tuple[Rule, ...]] = (
    Rule("quoted lines", "", _always(markup.without_quotation), (), "markdown"),
    Rule("characters", "", _always(characters.cleaned), ()),
    Rule("blocks", "", _always(markup.without_blocks), (), "markdown"),
    Rule("links", "", _always(markup.without_links), (), "markdown"),
    Rule("tags", "", _always(markup.without_tags), (), "markdown"),
    Rule("formulas", "", _always(markup.without_tex), (), "markdown"),
    Rule("emphasis", "", _always(markup.without_emphasis), (), "markdown"),
    Rule("faces", "", _always(symbols.without_faces), ()),
    Rule(
        "addresses", "", lambda t, o: addresses.read_addresses(t, "en", o.addresses), (), "", "en"
    ),
    Rule("names", "", _always(lambda t: addresses.read_names(t, "en")), (), "", "en"),
    Rule(
        "Chinese addresses",
        "",
        lambda t, o: addresses.read_addresses(t, "zh", o.addresses),
        (),
        "",
        "zh",
    ),
    Rule("Chinese names", "", _always(lambda t: addresses.read_names(t, "zh")), (), "", "zh"),
    Rule("print", "", _always(symbols.plain_print), ()),
    Rule("abbreviations", "", _always(normalization.read_abbreviations), (), "", "en"),
    Rule("telephones", "", _always(dates.read_telephones), (), "numbers", "en"),
    Rule("money", "", _always(amounts.read_money), (), "numbers", "en"),
    Rule("dates", "", _always(dates.read_dates), (), "numbers", "en"),
    Rule("times", "", _always(dates.read_times), (), "numbers", "en"),
    Rule("lettered", "", _always(amounts.read_lettered), (), "numbers", "en"),
    Rule("units", "", _always(units.read_units), (), "numbers", "en"),
    Rule("grouped", "", _always(amounts.read_grouped), (), "numbers", "en"),
    Rule("Greek letters", "", _always(symbols.named_letters), ()),
    Rule("symbols", "", _always(symbols.read_symbols), (), "numbers", "en"),
    Rule("figures", "", _always(normalization.read_figures), (), "numbers", "en"),
    Rule("Chinese amounts", "", _always(chinese.read_chinese), (), "numbers", "zh"),
    Rule("Chinese symbols", "", _always(symbols.read_chinese_symbols), (), "numbers", "zh"),
    Rule("Chinese figures", "", _always(normalization.read_chinese_figures), (), "numbers", "zh"),
    Rule("signs", "", lambda t, o: symbols.without_signs(t, numbers=o.numbers), ()),
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
