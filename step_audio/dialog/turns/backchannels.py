"""What is said over an answer: words that end it, and words that only tell that one listens. Pure.

English and Chinese. The lists are short on purpose: a word that is in neither is judged by the
length of the sound.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

ASSENT: Final = (
    *("mm hmm", "mhm", "uh huh", "yeah", "yep", "yes", "right", "okay", "ok", "sure", "i see"),
    *("hmm", "um", "oh", "uh", "ah", "aha"),
)
"""Said by who listens, and wants to hear the rest."""
OBJECTIONS: Final = (
    *("stop", "stop it", "wait", "wait a moment", "no", "hold on", "hey", "what", "be quiet"),
    *("quiet", "shut up", "cancel", "enough", "never mind"),
)
"""Said by who wants the answer to end."""
_ASSENT_ZH: Final = (
    "嗯",
    "嗯嗯",
    "对",
    "对对",
    "好",
    "好的",
    "是",
    "是的",
    "哦",
    "啊",
    "行",
    "可以",
)
_OBJECTIONS_ZH: Final = (
    "停",
    "停下",
    "等等",
    "等一下",
    "不",
    "不对",
    "不是",
    "别说了",
    "够了",
    "算了",
)


def _whole(phrases: tuple[str, ...]) -> str:
    return "|".join(sorted(map(re.escape, phrases), key=len, reverse=True))


_ONLY_ASSENT: Final = re.compile(
    rf"(?:(?:{_whole(ASSENT)})(?: |$)|(?:{_whole(_ASSENT_ZH)}) ?)+", re.ASCII
)
_ANY_OBJECTION: Final = re.compile(
    rf"(?<![a-z])(?:{_whole(OBJECTIONS)})(?![a-z])|{_whole(_OBJECTIONS_ZH)}"
)


def objects(words: str) -> bool | None:
    """Return whether words that were heard over an answer ask for its end.

    Returns:
        False for words of assent and for none at all, None where the words do not tell.
    """
    plain = unicodedata.normalize("NFKC", words).lower()
    plain = " ".join(re.sub(r"[^\w]|_", " ", plain).split())
    if not plain or _ONLY_ASSENT.fullmatch(plain):
        return False
    return True if _ANY_OBJECTION.search(plain) else None
