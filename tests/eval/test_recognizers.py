"""Recognisers by name; one behind an address."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from step_audio.core.errors import InputError
from step_audio.data.llm import EndpointError
from step_audio.eval import recognizers
from step_audio.eval.recognizers import ParaformerMissing, open_recognizer
from tests.eval.test_examinees import RATE, SOUND, rest_app, running


def test_a_server_hears_under_its_models_name() -> None:
    with running(rest_app(hears=True)) as examinee:
        found = open_recognizer(f"{examinee.name.rstrip('/')}#large")
        assert found is not None
        assert found.name.startswith("large at http://127.0.0.1")
        assert found.hear(SOUND, RATE, "en") == "heard words"
    with pytest.raises(EndpointError, match="no transcript"):
        found.hear(SOUND, RATE, "")


def test_names() -> None:
    assert open_recognizer("none") is None
    whisper, large = open_recognizer("whisper"), open_recognizer("whisper:large-v3")
    assert whisper is not None
    assert large is not None
    assert (whisper.name, large.name) == ("whisper base", "whisper:large-v3")
    with pytest.raises(InputError, match="no recogniser 'siri'"):
        open_recognizer("siri")


def test_paraformer_says_what_is_missing_and_is_asked_at_16_khz(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = open_recognizer("paraformer")
    assert found is not None
    assert found.name == "paraformer-zh v2.0.4"
    monkeypatch.setitem(sys.modules, "funasr", None)
    recognizers._paraformer.cache_clear()
    with pytest.raises(ParaformerMissing, match="funasr"):
        found.hear(SOUND, RATE, "zh")
    asked: list[tuple[int, int]] = []

    class AutoModel:
        def __init__(self, **settings: Any) -> None:
            assert settings["model"] == "paraformer-zh"

        def generate(self, input: Any, fs: int, **_: Any) -> list[dict[str, str]]:
            asked.append((len(np.asarray(input)), fs))
            return [{"text": "你好"}]

    module = types.ModuleType("funasr")
    module.AutoModel = AutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", module)
    assert found.hear(SOUND, RATE, "zh") == "你好"
    assert asked == [(len(SOUND) * 16_000 // RATE, 16_000)]
    recognizers._paraformer.cache_clear()
