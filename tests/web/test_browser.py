"""The page in a real Chromium, with nano behind it. Run: make test-web.

Screenshots, recordings and what was measured are left in build/web-test. Nothing is timed but what
the issue sets a bar for, and that by the clock of the page's own audio graph.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.admission.limits import ServerSettings
from server.app import WEB
from step_audio.core.audio import read_audio, write_wav
from step_audio.core.config import load_profile
from step_audio.core.keys import Keyring
from step_audio.core.ports import Services
from step_audio.core.types import Pcm
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from step_audio.runtime import Runtime
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving
from tests.web.heard import Heard, heard
from tests.web.node import SessionRegistry
from tokenizer.vad import EnergyTurnDetector

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
MODULES = BUILD / "web" / "node_modules"
OUT = BUILD / "web-test"
MOST_STOP_MS = 300
JITTER_MS = 50
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

Drive = Callable[[str, int], dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        not MODULES.is_dir(), reason="make test-web installs what it drives it with"
    ),
]


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page's folder with the recorder beside it: the page loads from its server only."""
    folder = tmp_path_factory.mktemp("page") / "web"
    shutil.copytree(WEB, folder)
    shutil.copy(HERE / "tap.worklet.js", folder)
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    voices = tmp_path_factory.mktemp("voices")
    return Runtime(load_profile("nano").model_copy(update={"voice_folder": voices}))


@pytest.fixture(scope="module")
def parts(runtime: Runtime) -> Services:
    return runtime.services()


@pytest.fixture(scope="module")
def nano(page: Path, runtime: Runtime, parts: Services) -> Iterator[int]:
    with serving(parts, runtime.settings(), web=page) as port:
        yield port


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionRegistry]:
    """Yield the program that drives one Chromium for all tests."""
    OUT.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("browser")
    question, rate_hz = spoken("capital")
    ahead = np.zeros(rate_hz, dtype=np.float32)
    write_wav(folder / "question.wav", np.concatenate([ahead, question]), rate_hz)
    sample = np.concatenate([spoken(name)[0] for name in ("legs", "joke", "sum")])
    write_wav(folder / "sample.wav", sample, rate_hz)
    environment = {
        "MODULES": str(MODULES),
        "CHROMIUM": CHROMIUM or "",
        "OUT": str(OUT),
        "QUESTION": str(folder / "question.wav"),
        "SAMPLE": str(folder / "sample.wav"),
    }
    with SessionRegistry(["node", str(HERE / "drive.mjs")], environment) as program:
        yield program


@pytest.fixture
def drive(browser: SessionRegistry) -> Drive:
    def run(step: str, port: int) -> dict[str, Any]:
        found = browser.ask({"step": step, "url": f"http://127.0.0.1:{port}/"})
        assert "failed" not in found, f"{found['failed']}\nthe page's console: {found['troubles']}"
        (OUT / f"{step}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        assert found["troubles"] == []
        return found

    return run


def note(step: str, **figures: Any) -> None:
    """Add what was measured to what a step left."""
    path = OUT / f"{step}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found | figures, indent=1), encoding="utf-8")


def spoken(sample: str) -> tuple[Pcm, int]:
    """Return a sample question of the page, (T,), and its rate."""
    return read_audio(WEB / "samples" / f"{sample}.mp3")


def tone(groups: int, words: str, **more: Any) -> Services:
    """Return what answers everything with a steady tone and these words, at once."""
    answer = interleave(text_ids(words), [group(n) for n in range(groups)], VOCAB)
    return replace(services(ScriptedEngine([answer])), **more)


def serious(found: list[Any]) -> list[Any]:
    """Return the findings of axe-core that count."""
    return [finding for finding in found if finding[2] in {"serious", "critical"}]


def test_a_question_into_the_microphone_is_answered_aloud(drive: Drive, nano: int) -> None:
    judging = pytest.importorskip("step_audio.nano.exam.judge")
    found = drive("talk", nano)
    bubbles = dict(found["bubbles"])
    assert "capital" in bubbles["user"]
    assert "Paris" in bubbles["assistant"]
    sound = heard(OUT, "answer", found)
    write_wav(OUT / "answer.wav", sound.pcm, sound.rate_hz)
    words = judging.normalise(judging.domain_judge().hear(sound.spoken(), sound.rate_hz))
    note("talk", judged=" ".join(words), gaps_ms=sound.gaps_ms(100))
    wanted = judging.normalise(bubbles["assistant"])
    assert "paris" in words, words
    right = len(set(words) & set(wanted)) / len(set(wanted))
    assert right >= 0.7, f"said {bubbles['assistant']!r}, heard {' '.join(words)!r}"


def test_speaking_into_an_answer_silences_it(drive: Drive, page: Path, parts: Services) -> None:
    # nano's ears and an answer that costs nothing: what is measured is the page and the turns.
    # Words and groups change all the time, or the guard against loops would end it.
    words = " ".join(f"{n} sheep and {n * n} goats" for n in range(20))
    ears = parts.turn_detector
    with serving(tone(120, words, turn_detector=ears), web=page) as port:
        found = drive("interrupt", port)
    times = heard(OUT, "interrupted", found).loud_s()
    begun_s = found["spokenAt"]
    during = times[(times >= begun_s) & (times < begun_s + 1.5)]
    assert during.size, "the answer was not being spoken"
    stop_ms = 1000 * (during[-1] - begun_s)
    note("interrupt", stop_ms=stop_ms)
    assert stop_ms <= MOST_STOP_MS
    assert found["mark"].startswith("interrupted after")


def test_a_tool_call_is_shown_and_a_reload_keeps_the_conversation(drive: Drive, nano: int) -> None:
    found = drive("reload", nano)
    assert "get_time" in found["call"]
    assert "London" in found["call"]
    assert "time" in found["call"].splitlines()[-1]
    assert found["after"] == found["before"]
    assert found["restored"] == found["before"][0]  # and the server is told of it
    assert [who for who, _ in found["then"]] == ["user", "assistant"]
    assert found["overflow"] <= 0


def test_a_line_that_breaks_in_an_answer_loses_nothing_of_it(drive: Drive, page: Path) -> None:
    words = "On and on and on it goes."
    with serving(tone(40, words), web=page) as port:
        found = drive("drop", port)
    assert found["breaks"] == 1
    assert found["seen"] == ["Reconnecting", "Connected"]
    assert found["first"] == [["user", "Go on."], ["assistant", words]]
    assert found["bubbles"] == [*found["first"], ["user", "And on."], ["assistant", words]]
    sound = heard(OUT, "resumed", found).spoken()
    assert len(sound) / found["rate"] == pytest.approx(40 * 0.12, abs=0.05)


def test_a_session_that_nobody_speaks_in_sleeps_until_it_is_woken(drive: Drive, page: Path) -> None:
    limits = ServerSettings(idle_timeout_s=6.0, warning_s=3.0)
    with serving(tone(5, "Yes?"), limits=limits, web=page) as port:
        found = drive("sleep", port)
    assert "seconds" in found["warning"]
    assert found["bubbles"] == [["user", "Wake up."], ["assistant", "Yes?"]]


def test_a_page_from_elsewhere_asks_for_the_key_and_says_why_it_has_no_microphone(
    drive: Drive, page: Path
) -> None:
    limits = ServerSettings(keys=Keyring({}, plain="sesame"), hosts=frozenset())
    with serving(tone(10, "Yes?"), limits=limits, web=page) as port:
        found = drive("elsewhere", port)
    assert not found["secure"]
    assert "--tls" in found["refused"]
    assert found["bubbles"] == [["user", "Hello."], ["assistant", "Yes?"]]


def test_the_space_bar_talks_mute_is_silence_and_samples_ask_themselves(
    drive: Drive, page: Path
) -> None:
    with serving(tone(10, "Yes?"), web=page) as port:
        found = drive("hands", port)
    assert found["spoken"]
    assert found["muted"]
    assert found["typed"] == ["a b ", "idle"]
    assert [who for who, _ in found["bubbles"]] == ["user", "assistant"] * 4


def test_the_style_is_told_and_kept(drive: Drive, page: Path) -> None:
    follows = DialogSettings(takes_instructions=True)
    with serving(tone(5, "Yes?", default_voice="slt"), follows, web=page) as port:
        found = drive("style", port)
    plain = {"role": None, "emotion": None, "dialect": None, "mode": None, "loudness": 3}
    assert found["voice"] == "slt"  # the profile's, not the first of the list
    assert found["first"] == [plain, {"speed": 1}]  # a voice that nobody chose is not named
    assert found["sung"] == {**plain, "mode": "sing", "dialect": "Cantonese"}
    assert found["again"][0] == {**plain, "role": "You are a pirate.", "loudness": 5}
    assert found["barred"] == [["user", "Go on."], ["assistant", "Yes?"]]


def test_what_nano_does_not_follow_is_barred_and_the_reason_stands_beside_it(
    drive: Drive, nano: int
) -> None:
    found = drive("offered", nano)
    style, dialect = found["fields"]
    assert style == ["style", False, "happy", ""]  # its voice does that
    assert dialect[:3] == ["dialect", True, ""]
    assert dialect[3].startswith("This model follows no ")
    assert found["told"]["emotion"] == "happy"
    assert found["told"]["role"] == "You are a pirate."  # one of those it was taught
    assert found["told"]["loudness"] == 4  # done to the sound, whatever the model
    assert found["clear"] == [True, True]  # not cut at the edge, on a phone neither
    assert [name for name, whole in found["header"] if not whole] == []  # on a phone
    assert found["studio"]
    assert found["links"] == ["/docs"]
    assert found["docs"] == 200
    assert serious(found["found"]) == []


def test_on_a_phone_on_its_side_nothing_lies_over_the_conversation(drive: Drive, nano: int) -> None:
    for view in drive("landscape", nano)["views"]:
        assert view["apart"]
        assert view["inside"]
        assert view["within"], "a bubble's times stand beside it"
        assert view["answer"], "the newest answer is not seen"
        assert view["lines"] >= 120
        assert view["overflow"] <= 0


def test_a_lost_server_is_said_within_ten_seconds(drive: Drive, page: Path) -> None:
    with serving(tone(5, "Yes?"), web=page) as port:
        found = drive("gone", port)
    assert "Is it still running?" in found["said"]
    assert found["saidS"] < 10


def test_a_missing_model_is_said_before_the_first_question(drive: Drive, page: Path) -> None:
    parts = tone(5, "Yes?")
    with serving(replace(parts, engine=ScriptedEngine([[]], well=False)), web=page) as port:
        found = drive("missing", port)
    assert found["said"].startswith("The language model does not answer.")
    assert found["asked"] == 0


def test_haste_opens_no_second_microphone_and_asks_nothing_twice(drive: Drive, page: Path) -> None:
    ears = EnergyTurnDetector()
    with serving(tone(30, "Yes, and on it goes.", turn_detector=ears), web=page) as port:
        found = drive("haste", port)
    assert found["unwanted"] == [0, "idle"]
    assert found["open"] == 1
    assert found["muted"].startswith("Muted")
    assert [who for who, _ in found["twice"]] == ["user", "assistant"] * 2
    assert found["stopped"] == 0
    assert found["quit"] == found["twice"]
    assert found["held"] == ["idle", "Start"]
    assert found["left"] == [[], None]


def test_50_ms_of_jitter_make_no_gap(drive: Drive, page: Path) -> None:
    with serving(tone(20, "On and on and on."), web=page) as port:
        found = drive("jitter", port)
    assert 40 < found["latestMs"] < JITTER_MS + 5, "late by something else than was asked for"
    sound = heard(OUT, "jitter", found)
    gaps_ms = sound.gaps_ms(5)
    note("jitter", gaps_ms=gaps_ms)
    # Between three answers are two pauses, which last as long as a new question takes.
    assert [gap for gap in gaps_ms if gap < 1000] == []
    assert len(gaps_ms) == 2
    assert len(sound.spoken()) / sound.rate_hz == pytest.approx(3 * 20 * 0.12, abs=0.1)


def test_nothing_stands_in_the_way_of_assistive_technology(drive: Drive, nano: int) -> None:
    found = drive("access", nano)
    assert serious(found["found"]) == []
    assert "allow it" in found["refused"]
    assert found["overflow"] <= 0


def test_the_studio_speaks_and_takes_and_removes_voices(drive: Drive, nano: int) -> None:
    found = drive("studio", nano)
    assert found["file"] == "speech.wav"
    assert 0.3 < found["lastsS"] < 3  # "Hello.", and a player that knows its length
    plain, happy = found["manners"]
    assert plain.startswith("plain")
    assert happy.startswith("happy")
    assert found["drawn"] == [True, True]  # one over the other, each in its own colour
    words, name, pictures = found["strange"]
    assert "does not play aac" in words
    assert name == "speech.aac"
    assert not pictures  # of another sound
    assert found["refused"]
    assert {"uploaded", "recorded"} <= set(found["voices"])
    assert found["chosen"] == "recorded"
    removed = found["removed"]
    assert serious(removed["found"]) == []
    assert removed["safe"] == "Keep it"
    assert removed["kept"] == [["recorded", "uploaded"], "Remove"]
    assert removed["left"] == [["uploaded"], "rms"]
    assert removed["other"] == ""  # an older error is not left beside it
    assert found["overflow"] <= 0


def test_what_was_heard_knows_its_gaps() -> None:
    tone_ = np.full(800, 0.5, dtype=np.float32)
    silence = np.zeros(160, dtype=np.float32)
    sound = Heard(np.concatenate([silence, tone_, silence, tone_]), 8000, 2.0)
    assert sound.gaps_ms(5) == [20.1]
    assert len(sound.spoken()) == 1600
    assert sound.loud_s()[0] == pytest.approx(2.02)
