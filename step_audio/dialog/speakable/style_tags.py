"""Style tags of the published speech model, in a text or asked for in words.

"(happy) Good morning." and "（高兴1）早上好。" ask for the same. A model that was taught the tags
gets them in front of each sentence; for one that was not, they are taken out, and speed and
loudness are done to the sound.

Source: the tags of Step-Audio-TTS-3B's prompt (prompts/tts_any_voice.txt).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from step_audio.dialog.speakable.characters import has_words


@dataclass(frozen=True, slots=True)
class Style:
    """How to read.

    Attributes:
        tags: as the published model knows them: at most one each of mood, language and speed, in
            that order; or one of `SONGS` alone.
        speed, volume: the same by signal processing, 1.0 for as it comes.
        manners: the same by a voice that does it itself (`dialog.manners` of the profile): at most
            one mood and the whisper, or a song alone. A number is the strength.
    """

    tags: tuple[str, ...] = ()
    speed: float = 1.0
    volume: float = 1.0
    manners: tuple[str, ...] = ()

    @property
    def song(self) -> str:
        """The tag of singing or rapping; "" for speech."""
        return next((tag for tag in self.tags if tag in SONGS), "")

    def with_more(self, more: Style) -> Style:
        """Return both together; where both say something of one kind, `more` does."""
        if more.song:
            tags, manners = more.tags, more.manners
        elif self.song and (more.tags or more.manners):
            tags, manners = self.tags, self.manners  # the model takes nothing beside it
        else:
            by_kind = {_kind(tag): tag for tag in (*self.tags, *more.tags)}
            tags = tuple(by_kind[kind] for kind in sorted(by_kind))
            both = {name == WHISPER: name for name in (*self.manners, *more.manners)}
            manners = tuple(both[kind] for kind in sorted(both))
        return Style(
            tags,
            self.speed if more.speed == 1.0 else more.speed,
            self.volume if more.volume == 1.0 else more.volume,
            manners,
        )

    def by_voice(self, manners: Collection[str]) -> Style:
        """Return what is done to the sound by a voice that knows these manners.

        Tags are left out; a whisper that the voice does itself is not made quieter as well, and a
        song keeps its own time.
        """
        done = tuple(name for name in self.manners if name.rstrip("12") in manners)
        speed = 1.0 if self.song and done else self.speed
        return Style((), speed, 1.0 if WHISPER in done else self.volume, done)


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


@dataclass(frozen=True, slots=True)
class StyleReach:
    """What of a wished style comes to the model that makes the sound of a conversation.

    Attributes:
        instructions: words to the model that answers.
        speaks_itself: whether that is the model that makes the sound.
        tags: style tags to the model that reads the answers aloud.
        songs: those of rap and humming too.
        roles: roles that the model knows by heart.
        manners: what the voice does to the sound itself: happy, sad, angry, whisper, sing, rap.
    """

    instructions: bool = False
    speaks_itself: bool = True
    tags: bool = False
    songs: bool = False
    roles: bool = False
    manners: frozenset[str] = frozenset()


RAP: Final = "RAP"
HUMMING: Final = "哼唱"
WHISPER: Final = "whisper"
SONGS: Final = (RAP, HUMMING)
PLAIN: Final = Style()

_STYLES: Final = (
    (Style(("高兴1",), manners=("happy1",)), "高兴1 高兴 开心 happy happily cheerful joyful"),
    (Style(("高兴2",), manners=("happy2",)), "高兴2 happy2 excited thrilled"),
    (Style(("生气1",), manners=("angry1",)), "生气1 生气 angry angrily annoyed"),
    (Style(("生气2",), manners=("angry2",)), "生气2 愤怒 angry2 furious"),
    (Style(("悲伤1",), manners=("sad1",)), "悲伤1 悲伤 难过 sad sadly sorrowful"),
    # The published model has one strength of it.
    (Style(("悲伤1",), manners=("sad2",)), "悲伤2 sad2 heartbroken"),
    (Style(("撒娇1",)), "撒娇1 撒娇 coquettish coy"),
    (Style(("中文",)), "中文 普通话 mandarin chinese"),
    (Style(("英文",)), "英文 english"),
    (Style(("韩语",)), "韩语 korean"),
    (Style(("日语",)), "日语 japanese"),
    (Style(("四川话",)), "四川话 sichuanese sichuan"),
    (Style(("粤语",)), "粤语 广东话 cantonese"),
    (Style(), "british american"),  # no voice here has accents
    (Style(("RAP",), manners=("rap",)), "rap 说唱 rapping"),
    (Style(("哼唱",), manners=("sing",)), "哼唱 humming hum sing singing"),
    (Style(("快速1",), speed=1.15), "快速1 快速 快 fast faster quickly"),
    (Style(("快速2",), speed=1.35), "快速2 很快 fast2"),
    (Style(("慢速1",), speed=0.87), "慢速1 慢速 慢 slow slower slowly"),
    (Style(("慢速2",), speed=0.75), "慢速2 很慢 slow2"),
    (Style(volume=1.6), "大声 loud louder loudly"),
    (Style(volume=2.2), "很大声 loud2"),
    (Style(volume=0.35), "很小声 quiet2"),
    (Style(volume=0.5), "小声 轻声 quiet quietly soft softly softer"),
    (Style(volume=0.5, manners=("whisper",)), "耳语 whisper whispering whispered"),
)
_SPEED_TAGS: Final = frozenset({"快速1", "快速2", "慢速1", "慢速2"})
_MOODS: Final = frozenset({"高兴1", "高兴2", "生气1", "生气2", "悲伤1", "撒娇1"})
_BY_NAME: Final = {name: style for style, names in _STYLES for name in names.split()}
# Nothing before or behind the name may repeat: a bracket before 2000 spaces took a second.
_BRACKETS: Final = re.compile(r"[（(]([^（）()\n]{1,32})[）)]")
_BEFORE_CHARS: Final = 40
_OPEN: Final = re.compile(r"[（(][^（）()\n]{0,32}")
_MARKS_BEFORE: Final = frozenset(".!?;:,。！？；：，…")
_MARKS_BEHIND: Final = ".!?;:,。！？；：，、)）]"
_QUOTES: Final = " \"'“”‘’「」『』"
_WORD: Final = re.compile(r"[a-z]+\d?")
_STRENGTH: Final = re.compile(r"\s+([12])$")
_VERY: Final = re.compile(r"\bvery (fast|slow)(?:ly)?\b")


def style_named(name: str) -> Style | None:
    """Return the style of a tag without its brackets, in either language; None: not a tag."""
    plain = _STRENGTH.sub(r"\1", _VERY.sub(r"\g<1>2", name.strip().lower()))
    return _BY_NAME.get(plain) or _BY_NAME.get(plain.removesuffix("1"))


def style_asked(instructions: str) -> Style:
    """Return the style that free words ask for: of several of one kind, the one named first."""
    text = _VERY.sub(r"\g<1>2", instructions.lower())
    names = [name for name in _BY_NAME if not name.isascii() and name in text]
    # Longest first: 很快 before 快.
    names = sorted(names, key=len, reverse=True) + _WORD.findall(text)
    asked = PLAIN
    for style in (_BY_NAME[name] for name in names if name in _BY_NAME):
        asked = style.with_more(asked)
    return asked


def styled(text: str, instructions: str = "") -> list[tuple[Style, str]]:
    """Return the text in spans of one style, without the tags; brackets that are none stay.

    Tags that stand together hold together, with what the instructions say of other kinds, until
    the next tag. Spans without any letter are left out.
    """
    asked = style_asked(instructions)
    style, start = asked, 0
    spans: list[tuple[Style, str]] = []
    for named, found in tags_in(text):
        before = text[start : found.start()]
        stacked = start and not before.strip()
        spans.append((style, before))
        style, start = (style if stacked else asked).with_more(named), found.end()
    spans.append((style, text[start:]))
    return [(how, what) for how, what in spans if has_words(what)]


def last_tag(text: str) -> str:
    """Return the last style tags of a text with their brackets, "" for none: for what follows."""
    tags, end = "", -1
    for _, found in tags_in(text):
        stacked = end >= 0 and not text[end : found.start()].strip()
        tags, end = (tags if stacked else "") + found[0], found.end()
    return tags


def tags_in(text: str) -> Iterator[tuple[Style, re.Match[str]]]:
    """Yield each style tag of a text and where it stands."""
    end = 0
    for found in _BRACKETS.finditer(text):
        style = style_named(found[1])
        before, behind = text[end : found.start()], text[found.end() : found.end() + 1]
        if style is not None and _is_tag(found[1], before, behind):
            end = found.end()
            yield style, found


def _is_tag(name: str, before: str, behind: str) -> bool:
    """Whether a name in brackets can be a tag where it stands: "The film (English)" has none.

    A tag begins a sentence or a part of one, follows another tag, or touches the word behind it.
    A name with a number, as the published model has them, is never a word.

    Args:
        before: the text since the last tag.
        behind: the character that follows, if any.
    """
    if name.strip()[-1:] in {"1", "2"}:
        return True
    if behind and behind in _MARKS_BEHIND:
        return False
    if not before.strip(_QUOTES + "\r\n\t") or before.rstrip(" \t").endswith("\n"):
        return True
    if before.rstrip().rstrip(_QUOTES)[-1:] in _MARKS_BEFORE:
        return True
    return before[-1:].isspace() and behind.isalnum()


def _kind(tag: str) -> int:
    """Return which of a stack's places a tag takes."""
    if tag in _MOODS:
        return 0
    return 2 if tag in _SPEED_TAGS else 1


@dataclass(frozen=True, slots=True)
class StyleTag:
    """A tag in streaming text, or the white space behind one.

    Attributes:
        style: of what follows.
        written: the tag as it was written, or the white space.
    """

    style: Style
    written: str


class StyleFinder:
    """Stage[str, str | StyleTag]: the tags out of streaming text.

    Text passes as soon as it cannot be the beginning of a tag any more. A tag holds until the
    next; those that stand together hold together. White space behind tags is no text either.
    """

    def __init__(self) -> None:
        self._held = ""
        self._style = PLAIN
        self._tagged = False  # whether nothing was said since the last tag
        self._before = ""  # the end of what was said since the last tag

    @property
    def undecided(self) -> bool:
        """Whether text is held that may be a tag."""
        return bool(self._held)

    def push(self, piece: str, /) -> list[str | StyleTag]:
        """Take a piece of text, cut anywhere."""
        self._held += piece
        return self._found(final=False)

    def flush(self) -> list[str | StyleTag]:
        """Return the rest; half a tag is text."""
        return self._found(final=True)

    def _found(self, *, final: bool) -> list[str | StyleTag]:
        out: list[str | StyleTag] = []
        while self._held:
            at = min((n for n in map(self._held.find, "（(") if n >= 0), default=-1)
            if at < 0:
                self._say(self._held, out)
                self._held = ""
                break
            self._say(self._held[:at], out)
            self._held = self._held[at:]
            found = _BRACKETS.match(self._held)
            style = style_named(found[1]) if found else None
            behind = self._held[found.end() : found.end() + 1] if found else ""
            if style and not behind and not final:
                break
            if found and style and _is_tag(found[1], self._before, behind):
                self._before = ""
                self._style = (self._style if self._tagged else PLAIN).with_more(style)
                self._tagged = True
                out.append(StyleTag(self._style, found[0]))
                self._held = self._held[found.end() :]
            elif not found and not final and _OPEN.fullmatch(self._held):
                break
            else:
                self._say(self._held[0], out)
                self._held = self._held[1:]
        return out

    def _say(self, text: str, out: list[str | StyleTag]) -> None:
        if self._tagged and (space := text[: len(text) - len(text.lstrip())]):
            out.append(StyleTag(self._style, space))
            text = text[len(space) :]
        if text:
            self._before = (self._before + text)[-_BEFORE_CHARS:]
            out.append(text)
            self._tagged = False
