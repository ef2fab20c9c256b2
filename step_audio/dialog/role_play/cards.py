"""Role cards: one character a YAML file; those that ship, and a folder of the operator's own.

A card is text of strangers: its size is bounded, its keys are checked, and what could be taken for
a mark of a prompt or cannot be seen by a reader is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from step_audio.core.errors import ProfileError
from step_audio.core.profile import LanguageCode
from step_audio.dialog.speakable.characters import has_words
from step_audio.dialog.speakable.style_tags import PLAIN, Style, style_named, tags_in

MAX_BYTES: Final = 16_384
MAX_CARDS: Final = 200
_SHIPPED: Final = Path(__file__).parents[2] / "roles"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# After normalisation: some text tokenizers make "<" of its full-width form.
_MARK: Final = re.compile(r"<[^<>\s]{1,40}>|<\||\|>|\[/?INST\]|<</?SYS>>")
_ARTICLE: Final = re.compile(r"^(?:an?|the) ")


def _words(text: str) -> str:
    """Return a text in one line. Raises ValueError: it is empty, or holds what is no text."""
    line = " ".join(text.split())
    if not line:
        raise ValueError("it is empty; write something, or leave the key out")
    for char in line:
        if unicodedata.category(char) in _HIDDEN:
            raise ValueError(f"the character U+{ord(char):04X} cannot be seen; take it out")
    if found := _MARK.search(unicodedata.normalize("NFKC", line)):
        raise ValueError(f"{found[0]!r} looks like a mark of a model's prompt; write it in words")
    return line


def _spoken(text: str) -> str:
    """Return words that are spoken. Raises ValueError: style tags, or nothing to say."""
    line = _words(text)
    if tag := next((found[0] for _, found in tags_in(line)), None):
        raise ValueError(f"{tag!r} is a style tag: it belongs under manner")
    if not has_words(line):
        raise ValueError("there is no word in it")
    return line


def _tag(name: str) -> str:
    """Return the name of a style tag. Raises ValueError: there is none of that name."""
    if style_named(name) is None:
        raise ValueError(
            f"{name!r} is no style tag; there are happy, sad, angry, fast, slow, loud, quiet, "
            "sichuanese, cantonese, rap, humming and others: docs/voices.md"
        )
    return name.strip()


def _several(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


_Line = Annotated[str, StringConstraints(min_length=1), AfterValidator(_words)]
_Fact = Annotated[_Line, StringConstraints(max_length=300)]
_Paragraph = Annotated[_Line, StringConstraints(max_length=1000)]
_VoiceName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Tag = Annotated[str, StringConstraints(max_length=32), AfterValidator(_tag)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=40)]


class RoleCard(BaseModel):
    """One character."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    """By which it is asked for; also the name of its file."""
    title: Annotated[_Line, StringConstraints(max_length=60)]
    """Who it is in a few words, as lists show it."""
    language: LanguageCode = "en"
    """Of the card's text."""
    who: _Paragraph
    """Who they are: "You are ..."."""
    speaks: _Paragraph | None = None
    """How they speak, in words: length, favourite words."""
    manner: Annotated[tuple[_Tag, ...], Field(max_length=4), BeforeValidator(_several)] = ()
    """How they speak, as style tags without brackets: happy, 四川话, slow."""
    voice: Annotated[tuple[_VoiceName, ...], Field(max_length=8), BeforeValidator(_several)] = ()
    """Names of voices; the first that the deployment has is taken."""
    opening: Annotated[_Line, StringConstraints(max_length=300), AfterValidator(_spoken)] | None = (
        None
    )
    """What they say first."""
    knows: Annotated[tuple[_Fact, ...], Field(max_length=20)] = ()
    """What they know, a sentence each."""
    never: Annotated[tuple[_Fact, ...], Field(max_length=20)] = ()
    """What they never say or do: "tell where the treasure is"."""
    taught: Name | None = None
    """The same role among those that a small model knows by heart (`dialog.taught_roles`)."""

    @property
    def style(self) -> Style:
        """The manner as one style; of two tags of one kind the later holds."""
        style = PLAIN
        for name in self.manner:
            style = style.with_more(style_named(name) or PLAIN)
        return style


class RoleCards(Mapping[str, RoleCard]):
    """Cards by name, in the order of their names."""

    def __init__(self, cards: Sequence[RoleCard] = ()) -> None:
        self._cards = {card.name: card for card in sorted(cards, key=lambda card: card.name)}
        self._by_words = {words_of_role(card.title): card for card in self._cards.values()}
        self._by_words |= {words_of_role(name): card for name, card in self._cards.items()}

    def __getitem__(self, name: str) -> RoleCard:
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def named(self, text: str) -> RoleCard | None:
        """Return the card whose name or title a text is ("a pirate": pirate), None: no card's."""
        return self._by_words.get(words_of_role(text))


def words_of_role(text: str) -> str:
    """Return the words by which a role is found: small letters, no article, no final mark."""
    words = " ".join(text.lower().replace("-", " ").split()).strip(".!。！")
    return _ARTICLE.sub("", words)


def read_card(content: bytes, where: str) -> RoleCard:
    """Return the card of a file's content.

    Args:
        content: of the file.
        where: its name, for the error.

    Raises:
        ProfileError: one line that says what is wrong and where.
    """
    if len(content) > MAX_BYTES:
        raise ProfileError(f"role card {where} is larger than {MAX_BYTES} bytes; shorten it")
    raw = _yaml(content, where)
    try:
        return RoleCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the card"
        if first["type"] == "extra_forbidden":
            known = ", ".join(RoleCard.model_fields)
            raise ProfileError(f"role card {where}: {key!r} is no key; there are {known}") from None
        said = first["msg"].removeprefix("Value error, ")
        raise ProfileError(f"role card {where}: {key}: {said[:1].lower()}{said[1:]}") from None


def _yaml(content: bytes, where: str) -> dict[str, Any]:
    """Return keys and values. Raises ProfileError: not YAML, or more of YAML than a card needs."""
    try:
        text = content.decode("utf-8")
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
                line = token.start_mark.line + 1
                said = "anchors, aliases and tags of YAML are not taken; write the text out"
                raise ProfileError(f"role card {where}, line {line}: {said}")
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ProfileError(f"role card {where}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ProfileError(f"role card {where} is not YAML in UTF-8") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ProfileError(f"role card {where} must be keys and values, such as name: pirate")
    keys = [key.value for key, _ in node.value]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ProfileError(f"role card {where} has the key {twice!r} twice")
    return raw


def load_cards(folder: Path | None = None) -> RoleCards:
    """Return the cards that ship, and those of a folder, which hold where names are the same.

    Raises:
        ProfileError: the folder or a card in it cannot be used.
    """
    own = _folder(folder) if folder is not None else ()
    taken = {card.name for card in own}
    return RoleCards((*(card for card in _shipped() if card.name not in taken), *own))


@cache
def _shipped() -> tuple[RoleCard, ...]:
    return _folder(_SHIPPED)


def _folder(folder: Path) -> tuple[RoleCard, ...]:
    if not folder.is_dir():
        raise ProfileError(f"role_folder {folder} is no folder; make it, or leave the key out")
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
    if len(paths) > MAX_CARDS:
        raise ProfileError(f"role_folder {folder} holds more than {MAX_CARDS} cards")
    return tuple(_file(path) for path in paths)


def _file(path: Path) -> RoleCard:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"cannot read role card {path}: {error.strerror}") from None
    card = read_card(content, str(path))
    if card.name != path.stem:
        raise ProfileError(f"role card {path} has the name {card.name!r}; name the file so too")
    return card
