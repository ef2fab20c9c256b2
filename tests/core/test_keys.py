import re

import pytest

from step_audio.core.errors import InputError
from step_audio.core.keys import HASH_PATTERN, Keyring, hash_key, new_key


def test_a_key_opens_by_its_hash_and_names_its_owner() -> None:
    mine, yours = new_key(), new_key()
    ring = Keyring({"mine": hash_key(mine), "yours": hash_key(yours)})
    assert ring
    assert (ring.owner(mine), ring.owner(yours)) == ("mine", "yours")


def test_strangers_are_nobody() -> None:
    key = new_key()
    ring = Keyring({"mine": hash_key(key)})
    for other in ("", key[:-1], key + "0", new_key(), "\ud800", "x" * 10_000):
        assert ring.owner(other) is None


def test_an_empty_ring_asks_for_nothing() -> None:
    assert not Keyring({})


def test_a_plain_key_of_the_environment_opens_too() -> None:
    assert Keyring({}, "s3cret").owner("s3cret") == "api_key"


def test_a_hash_tells_nothing_and_has_the_profiles_form() -> None:
    key = new_key()
    assert key not in hash_key(key)
    assert hash_key(key) != hash_key(key)  # salted
    assert re.fullmatch(HASH_PATTERN, hash_key(key))


def test_a_key_that_a_person_made_up_is_not_hashed() -> None:
    with pytest.raises(InputError, match="step-audio key"):
        hash_key("hunter2")


def test_a_profile_with_the_key_instead_of_its_hash_is_refused() -> None:
    with pytest.raises(InputError, match="'mine' is not a hash"):
        Keyring({"mine": new_key()})
