"""Programs that live in a browser: which pages may ask, and what their browsers are told."""

import pytest

from server.admission.limits import ServerSettings
from step_audio.core.keys import Keyring
from tests.fakes import VOCAB, group
from tests.server.conftest import Connect

READER = "https://reader.example"
SPEECH = VOCAB.ids([group(1)])
PREFLIGHT = {
    "origin": READER,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}
LISTED = ServerSettings(origins=frozenset({READER}))
KEYED = ServerSettings(keys=Keyring({}, "s3cret"))
BEARER = {"authorization": "Bearer s3cret"}


@pytest.mark.parametrize("settings", [LISTED, KEYED], ids=["listed", "keyed"])
def test_a_welcome_page_asks_first_and_reads_the_answer(
    connect: Connect, settings: ServerSettings
) -> None:
    client = connect([SPEECH], settings=settings)
    may = client.options("/v1/audio/speech", headers=PREFLIGHT)  # without a key, as browsers ask
    assert (may.status_code, may.content) == (204, b"")
    assert may.headers["access-control-allow-origin"] == READER
    assert "POST" in may.headers["access-control-allow-methods"]
    assert "x-stainless-os" in may.headers["access-control-allow-headers"]
    headers = {"origin": READER, **BEARER}
    got = client.post("/v1/audio/speech", json={"input": "Hi."}, headers=headers)
    assert got.status_code == 200
    assert got.headers["access-control-allow-origin"] == READER
    assert "origin" in got.headers["vary"].lower()


def test_a_welcome_page_can_read_why_it_was_refused(connect: Connect) -> None:
    got = connect(settings=KEYED).get("/v1/models", headers={"origin": READER})
    assert got.status_code == 401
    assert got.headers["access-control-allow-origin"] == READER


def test_other_pages_are_refused_and_told_nothing(connect: Connect) -> None:
    for settings in (
        ServerSettings(),
        LISTED,
        ServerSettings(keys=KEYED.keys, origins=LISTED.origins),
    ):
        client = connect([SPEECH], settings=settings)
        for origin in ("https://evil.example", "null"):
            may = client.options("/v1/audio/speech", headers={**PREFLIGHT, "origin": origin})
            got = client.get("/v1/models", headers={"origin": origin, **BEARER})
            assert may.status_code == 403
            for answer in (may, got):
                assert "access-control-allow-origin" not in answer.headers


def test_a_public_page_may_reach_a_private_address_when_listed(connect: Connect) -> None:
    asked = {**PREFLIGHT, "access-control-request-private-network": "true"}
    may = connect(settings=LISTED).options("/v1/audio/speech", headers=asked)
    assert may.headers["access-control-allow-private-network"] == "true"


def test_odd_header_names_are_not_echoed(connect: Connect) -> None:
    asked = {**PREFLIGHT, "access-control-request-headers": 'a"<script>'}
    may = connect(settings=LISTED).options("/v1/audio/speech", headers=asked)
    assert "access-control-allow-headers" not in may.headers
