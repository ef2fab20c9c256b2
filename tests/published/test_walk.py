"""The whole road of somebody with cards, walked on stand-ins: nothing overridden but addresses.

Download, check, doctor, serve as a process of its own, `say`, speech over REST in the named voice,
a rap, a realtime conversation with a tool and a style, a transcript. The engines are HTTP servers
whose ids are written here; test_walk_vllm.py walks it with a real vLLM. Run: make test-published;
what was typed and printed is in build/published/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from tests.fake_vllm import FakeVllm
from tests.published.conftest import Download
from tests.published.engines import running, said, words
from tests.published.standins import RECORDINGS, SOUND, listing
from tests.published.walk import (
    RAP,
    SPEECH,
    TOOL,
    VOCAB,
    Walk,
    asked,
    begun,
    conversed,
    spoken,
    transcribed,
    transcript_of,
)
from tests.vllm_server.process import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_tts_3b(downloaded: Download, environ: dict[str, str]) -> None:
    engine = FakeVllm(lambda body: SPEECH, model="step-audio-tts-3b", max_model_len=32768)
    with running(engine):
        environ["STEP_AUDIO__ENGINE__URL"] = engine.url
        walk = begun("tts-3b", downloaded, environ)
        out = environ["HOME"] + "/out.wav"
        walk.run("say", "(高兴1)(快速1)今天天气真的很好。", "-o", out, "--profile", "tts-3b")
        assert asked(engine.answers)[-1].endswith(
            "human\n(高兴1)(快速1)今天天气真的很好。 assistant\n"
        )
        walk.run("say", RAP, "-o", out, "--profile", "tts-3b")
        with walk.served() as address:
            plain = spoken(walk, address, "今天天气真的很好。")
            assert "使用[Tingting]的声音" in asked(engine.answers)[-1]
            sung = spoken(walk, address, RAP)
            assert load_prompt("tts_rap") in asked(engine.answers)[-1]
            assert RECORDINGS["TingtingRAP"][0] in asked(engine.answers)[-1]
            assert len(plain) == len(sung)
            assert np.abs(plain - sung).max() > 1e-3, "another vocoder spoke it"
            assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"


def test_chat_130b(downloaded: Download, environ: dict[str, str]) -> None:
    call = JsonSchemaSyntax().write(TOOL, '{"timezone":"Europe/Paris"}')
    replies = {
        "请记录下": "今天天气真的很好",
        "input\n": "（快速）现在是中午。(RAP)好吗？",
        "": f"让我看看。{call}",
    }

    def writes(body: dict[str, Any]) -> list[int]:
        prompt = said(body["prompt"])
        reply = next(text for known, text in replies.items() if known in prompt)
        return [*words(reply), VOCAB.eot]

    chat = FakeVllm(writes, model="step-audio-chat", max_model_len=32768)
    reader = FakeVllm(lambda body: SPEECH, model="step-audio-tts-3b", max_model_len=32768)
    with running(chat, reader):
        environ["STEP_AUDIO__ENGINE__URL"] = chat.url
        environ["STEP_AUDIO__SPEECH_ENGINE__URL"] = reader.url
        folder = downloaded("chat-130b")
        environ["STEP_AUDIO__WEIGHTS"] = str(folder)
        walk = Walk("chat-130b", environ)
        # The stand-in hears the same words whatever is said: half of the round trip differs.
        walk.run("check", "--profile", "chat-130b")
        assert "Spoken round trip (zh)" in walk.run("doctor", "--profile", "chat-130b", code=1)
        with walk.served() as address:
            spoken(walk, address, RAP)
            assert transcribed(walk, address, 200)["text"] == "今天天气真的很好"
            before = len(reader.answers)
            style: dict[str, object] = {"emotion": "happy", "dialect": "四川话", "speed": 2}
            events, applied = conversed(walk, address, style)
    assert applied == ["emotion", "dialect", "speed"]
    assert transcript_of(events) == "让我看看。现在是中午。好吗？"
    door = [text.rpartition("human\n")[2] for text in asked(reader.answers)[before:]]
    assert door == [
        "(高兴1)(四川话)(慢速1)让我看看。 assistant\n",
        "(高兴1)(四川话)(快速1)现在是中午。 assistant\n",
        "(RAP)好吗？ assistant\n",
    ]
    # What was said is written down for the history when nobody waits for it any more.
    answered = [text for text in asked(chat.answers) if "请记录下" not in text]
    assert f"{call}input\n" in answered[-1]
    assert load_prompt("chat_answer_styled") in answered[-1]


def test_aqaa_130b(downloaded: Download, environ: dict[str, str]) -> None:
    call = JsonSchemaSyntax().write(TOOL, '{"timezone":"Europe/Paris"}')

    def writes(body: dict[str, Any]) -> list[int]:
        if body["vllm_xargs"]["form"] == "speech":
            return SPEECH
        text = "现在是中午。" if "input\n" in said(body["prompt"]) else f"让我看看。{call}"
        sound = [VOCAB.size, *VOCAB.ids(SOUND), VOCAB.size + 1]  # <audio_start>, <audio_end>
        return [*words(text), *sound, 2]

    engine = FakeVllm(writes, model="step-audio-aqaa", max_model_len=32768)
    with running(engine):
        environ["STEP_AUDIO__ENGINE__URL"] = engine.url
        walk = begun("aqaa-130b", downloaded, environ)
        with walk.served() as address:
            events, applied = conversed(walk, address, {"emotion": "happy", "loudness": 4})
            assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"
            assert spoken(walk, address, RAP, status=400)["code"] == "singing_unsupported"
    assert applied == ["emotion", "loudness"]
    assert transcript_of(events) == "让我看看。现在是中午。"
    stops = {tuple(body["stop_token_ids"]) for body in engine.answers}
    assert stops == {(2, 3)}


def test_the_list_of_recordings_is_the_one_thing_that_stands_in(tmp_path: Path) -> None:
    """The real digests are those of recordings that we may not ship."""
    made = json.loads(listing(tmp_path / "list.json").read_text())
    shipped = json.loads((ROOT / "step_audio" / "published" / "speakers.json").read_text())
    assert made["commit"] == shipped["commit"]
    assert made["speakers"].keys() == shipped["speakers"].keys()
    paths = [{s: f["path"] for s, f in m["speakers"]["Tingting"].items()} for m in (made, shipped)]
    assert paths[0] == paths[1]
