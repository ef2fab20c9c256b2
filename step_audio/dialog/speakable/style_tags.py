"""Style tags of the published speech model, in a text or asked for in words.

"(happy) Good morning." and "（高兴1）早上好。" ask for the same. A model that was taught the tags
gets them in front of each sentence; for one that was not, they are taken out, and speed and
loudness are done to the sound.

Source: the tags of Step-Audio-TTS-3B's prompt (prompts/tts_any_voice.txt).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from step_audio.dialog.speakable.characters import has_words


@dataclass(frozen=True, slots=True)
class Style:
    """How to read.

    Attributes:
        tag: as the published model knows it; "" for none.
        speed, volume: the same by signal processing, 1.0 for as it comes.
    """

    tag: str = ""
    speed: float = 1.0
    volume: float = 1.0


@dataclass(frozen=True, slots=True)
class ReadingStyle:
    """What a caller asks for a whole text.

    Attributes:
        speed, volume: factors on the sound.
        instructions: free words; styles named in them are followed.
    """

    speed: float = 1.0
    volume: float = 1.0
    instructions: str = ""


PLAIN: Final = Style()

_STYLES: Final = (
    (Style("高兴1"), "高兴1 高兴 开心 happy happily cheerful joyful"),
    (Style("高兴2"), "高兴2 happy2 excited thrilled"),
    (Style("生气1"), "生气1 生气 angry angrily annoyed"),
    (Style("生气2"), "生气2 愤怒 angry2 furious"),
    (Style("悲伤1"), "悲伤1 悲伤 难过 sad sadly sorrowful"),
    (Style("撒娇1"), "撒娇1 撒娇 coquettish coy"),
    (Style("中文"), "中文 普通话 mandarin chinese"),
    (Style("英文"), "英文 english"),
    (Style("韩语"), "韩语 korean"),
    (Style("日语"), "日语 japanese"),
    (Style("四川话"), "四川话 sichuanese sichuan"),
    (Style("粤语"), "粤语 广东话 cantonese"),
    (Style("RAP"), "rap 说唱 rapping"),
    (Style("哼唱"), "哼唱 humming hum"),
    (Style("快速1", speed=1.15), "快速1 快速 快 fast faster quickly"),
    (Style("快速2", speed=1.35), "快速2 很快 fast2"),
    (Style("慢速1", speed=0.87), "慢速1 慢速 慢 slow slower slowly"),
    (Style("慢速2", speed=0.75), "慢速2 很慢 slow2"),
    (Style(volume=1.6), "大声 loud louder loudly"),
    (Style(volume=0.5), "小声 轻声 quiet quietly soft softly softer whisper whispering"),
)
_BY_NAME: Final = {name: style for style, names in _STYLES for name in names.split()}
# Nothing before or behind the name may repeat: a bracket before 2000 spaces took a second.
_BRACKETS: Final = re.compile(r"[（(]([^（）()\n]{1,32})[）)]")
_MARKS_BEFORE: Final = frozenset(".!?;:,。！？；：，…")
_MARKS_BEHIND: Final = ".!?;:,。！？；：，、)）]"
_QUOTES: Final = " \"'“”‘’「」『』"
_WORD: Final = re.compile(r"[a-z]+\d?")
_VERY: Final = re.compile(r"\bvery (fast|slow)(?:ly)?\b")


def style_named(name: str) -> Style | None:
    """Return the style of a tag without its brackets, in either language; None: not a tag."""
    plain = _VERY.sub(r"\g<1>2", name.strip().lower())
    return _BY_NAME.get(plain)


def style_asked(instructions: str) -> Style:
    """Return the style that free words ask for: of several kinds, each one named first.

    A tag can say one thing, so the first of mood, language, singing or speed becomes the tag.
    """
    text = _VERY.sub(r"\g<1>2", instructions.lower())
    names = [name for name in _BY_NAME if not name.isascii() and name in text]
    # Longest first: 很快 before 快.
    names = sorted(names, key=len, reverse=True) + _WORD.findall(text)
    asked = PLAIN
    for style in (_BY_NAME[name] for name in names if name in _BY_NAME):
        asked = replace(
            asked,
            tag=asked.tag or style.tag,
            speed=style.speed if asked.speed == 1.0 else asked.speed,
            volume=style.volume if asked.volume == 1.0 else asked.volume,
        )
    return asked


def styled(text: str, instructions: str = "") -> list[tuple[Style, str]]:
    """Return the text in spans of one style, without the tags; brackets that are none stay.

    A span's style holds until the next tag. Spans without any letter are left out.
    """
    style, start = style_asked(instructions), 0
    spans: list[tuple[Style, str]] = []
    for named, found in _tags(text):
        spans.append((style, text[start : found.start()]))
        style, start = named, found.end()
    spans.append((style, text[start:]))
    return [(how, what) for how, what in spans if has_words(what)]


def last_tag(text: str) -> str:
    """Return the last style tag of a text with its brackets, "" for none: for what follows it."""
    tags = [found[0] for _, found in _tags(text)]
    return tags[-1] if tags else ""


def style_behind(text: str) -> Style | None:
    """Return the style of the last tag of a text, None for none: it holds for what follows."""
    styles = [style for style, _ in _tags(text)]
    return styles[-1] if styles else None


def _tags(text: str) -> Iterator[tuple[Style, re.Match[str]]]:
    end = 0
    for found in _BRACKETS.finditer(text):
        style = style_named(found[1])
        if style is not None and _is_tag(text, found, end):
            end = found.end()
            yield style, found


def _is_tag(text: str, found: re.Match[str], last_end: int) -> bool:
    """Whether a name in brackets can be a tag where it stands: "The film (English)" has none.

    A tag begins a sentence or a part of one, follows another tag, or touches the word behind it.
    A name with a number, as the published model has them, is never a word.
    """
    before, behind = text[last_end : found.start()], text[found.end() :]
    if found[1].strip()[-1:] in {"1", "2"}:
        return True
    if not behind[:1].isalnum() and behind[:1] in _MARKS_BEHIND and behind[:1]:
        return False
    if not before.strip(_QUOTES + "\n") or before.rstrip(" \t").endswith("\n"):
        return True
    if before.rstrip().rstrip(_QUOTES)[-1:] in _MARKS_BEFORE:
        return True
    return before[-1:].isspace() and behind[:1].isalnum()
