import re
from typing import Any

import pytest

from tests.server.conftest import Connect

METHODS = {"get", "post", "delete"}


@pytest.fixture
def api(connect: Connect) -> dict[str, Any]:
    got: dict[str, Any] = connect().get("/openapi.json").json()
    return got


def test_every_rest_route_is_described(api: dict[str, Any]) -> None:
    assert set(api["paths"]) >= {
        "/healthz",
        "/readyz",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/audio/voices",
        "/v1/audio/voices/{voice_id}",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{model_id}",
    }


def test_every_operation_says_what_it_does_and_how_it_fails(api: dict[str, Any]) -> None:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            assert operation["summary"].endswith("."), path
            for status, response in operation["responses"].items():
                if int(status) >= 400 and path.startswith("/v1/"):
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, (path, status)


def test_request_bodies_are_models(api: dict[str, Any]) -> None:
    for path in ("/v1/audio/speech", "/v1/chat/completions"):
        body = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        schema = api["components"]["schemas"][body["$ref"].split("/")[-1]]
        assert schema["properties"]
        assert schema["example"]


def test_the_page_loads_nothing_from_elsewhere(connect: Connect) -> None:
    client = connect()
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"docs/page.js", "docs/page.css", "openapi.json", "favicon.svg"} == set(linked)
    # The icon is the chat page's, which a server may be without.
    for name in set(linked) - {"favicon.svg"}:
        assert client.get(f"/{name}").status_code == 200
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert not re.search(r"https?://", client.get("/docs/page.js").text)


def test_the_examples_of_the_description_work(connect: Connect, api: dict[str, Any]) -> None:
    from tests.fakes import VOCAB, group  # noqa: PLC0415

    script = VOCAB.ids([group(1)])
    for path in ("/v1/audio/speech", "/v1/chat/completions"):
        body = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        example = api["components"]["schemas"][body["$ref"].split("/")[-1]]["example"]
        assert connect([script]).post(path, json=example).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_description_needs_no_key(connect: Connect, path: str) -> None:
    assert connect().get(path).status_code == 200
