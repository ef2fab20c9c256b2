"""`roles`: list and show role cards, and say what of one has no effect in a profile."""

from __future__ import annotations

import argparse
import json
import sys

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.profile import Profile
from step_audio.dialog.role_play.cards import RoleCard, load_cards


def list_roles(args: argparse.Namespace, load: Load) -> int:
    """Print one card a line."""
    profile = load_profile(args.profile)
    for name, card in load_cards(profile.role_folder).items():
        kind = "" if plays(profile, card) else "\tnot played by this profile"
        print(f"{name}\t{card.title}\t{card.language}{kind}")
    return 0


def show_role(args: argparse.Namespace, load: Load) -> int:
    """Print a card as JSON."""
    cards = load_cards(load_profile(args.profile).role_folder)
    card = cards.named(args.name)
    if card is None:
        raise InputError(f"no role card {args.name!r}; there are {', '.join(cards)}")
    print(json.dumps(card.model_dump(exclude_none=True), ensure_ascii=False, indent=1))
    return 0


def plays(profile: Profile, card: RoleCard) -> bool:
    """Return whether a profile's model can play the character of a card."""
    dialog = profile.dialog
    converses = profile.responder != "speech"
    return converses and (dialog.takes_instructions or card.taught in dialog.taught_roles)


def say_not_applied(why: dict[str, str]) -> None:
    """Print what of a role has no effect to standard error."""
    for part, reason in why.items():
        print(f"{part} not applied: {reason}", file=sys.stderr)
