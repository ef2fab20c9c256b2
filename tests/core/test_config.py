"""Profiles: the shipped ones load; what is wrong is said in one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from step_audio.core.config import load_profile, profile_names
from step_audio.core.errors import ProfileError
from step_audio.core.profile import LocalEngineSection, ScriptedEngineSection, VllmEngineSection

GOOD = """
model_name: m
responder: direct
weights: w
origin: a shop
voice: v
engine: {kind: local}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    return path


def refusal(path: Path | str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path), environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_these_profiles_ship() -> None:
    assert profile_names() == (
        "aqaa-130b",
        "chat-130b",
        "local-chat",
        "nano",
        "one-gpu",
        "scripted",
        "tts-3b",
    )


ENGINES: dict[str, type[Any]] = {
    "local-chat": LocalEngineSection,
    "nano": LocalEngineSection,
    "scripted": ScriptedEngineSection,
}


@pytest.mark.parametrize("name", profile_names())
def test_each_shipped_profile_validates(name: str) -> None:
    profile = load_profile(name, {})
    assert profile.weights.is_absolute()
    assert isinstance(profile.engine, ENGINES.get(name, VllmEngineSection))
    assert (profile.speech_engine is not None) == (profile.responder == "cascade")


def test_a_section_of_several_kinds_is_explained_without_its_tag(profile: Path) -> None:
    text = profile.read_text()
    profile.write_text(text + "\ntranscriber: {kind: whisper, model: base, threads: 0}\n")
    assert "transcriber.threads" in refusal(profile)
    profile.write_text(text + "\ntranscriber: {model: base}\n")
    assert "whisper, endpoint, own_model" in refusal(profile)
    profile.write_text(text + "\nchat: {model: 7}\n")
    assert "chat.model" in refusal(profile)


def test_weights_are_relative_to_the_profile_file(profile: Path) -> None:
    assert load_profile(str(profile), {}).weights == profile.parent / "w"


def test_the_environment_overrides_nested_keys_and_their_types(profile: Path) -> None:
    environ = {
        "STEP_AUDIO__ENGINE__PRECISION": "int8",
        "STEP_AUDIO__THREADS": "3",
        "STEP_AUDIO__VOICE": "123",
        "STEP_AUDIO__SAMPLING__SEED": "null",
        "STEP_AUDIO__SERVER__API_KEY": "12345",
        "HOME": "/nowhere",
    }
    loaded = load_profile(str(profile), environ)
    assert isinstance(loaded.engine, LocalEngineSection)
    assert loaded.engine.precision == "int8"
    assert loaded.threads == 3
    assert loaded.voice == "123"
    assert loaded.sampling.seed is None
    assert loaded.server.api_key is not None
    assert loaded.server.api_key.get_secret_value() == "12345"


def test_the_environment_can_change_the_kind_of_engine(profile: Path) -> None:
    environ = {
        "STEP_AUDIO__ENGINE__KIND": "vllm",
        "STEP_AUDIO__ENGINE__URL": "http://gpu:8000",
        "STEP_AUDIO__ENGINE__MODEL": "m",
    }
    assert load_profile(str(profile), environ).engine == VllmEngineSection(
        kind="vllm", url=("http://gpu:8000",), model="m"
    )


def test_an_engine_may_have_several_addresses(profile: Path) -> None:
    environ = {
        "STEP_AUDIO__ENGINE__KIND": "vllm",
        "STEP_AUDIO__ENGINE__URL": "http://one:8000 https://two:8000/prefix",
        "STEP_AUDIO__ENGINE__MODEL": "m",
    }
    engine = load_profile(str(profile), environ).engine
    assert isinstance(engine, VllmEngineSection)
    assert engine.url == ("http://one:8000", "https://two:8000/prefix")
    profile.write_text(
        GOOD.replace("{kind: local}", "{kind: vllm, url: ['http://a:1', 'b:2'], model: m}")
    )
    assert "engine.url.1" in refusal(profile)


def test_a_printed_profile_hides_the_key(profile: Path) -> None:
    loaded = load_profile(str(profile), {"STEP_AUDIO__SERVER__API_KEY": "s3cret"})
    assert "s3cret" not in loaded.model_dump_json() + repr(loaded)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("vioce: x", ["vioce is no key", "voice"]),
        ("vocoder: {ode_step: 3}", ["vocoder.ode_step is no key", "ode_steps"]),
        ("engine: {kind: local, url: x}", ["engine.url is no key", "precision"]),
        ("engine: {kind: remote}", ["engine.kind", "'local', 'vllm', 'scripted'"]),
        ("engine: {url: x}", ["engine.kind is missing", "local, vllm, scripted"]),
        ("engine: {kind: vllm, model: m}", ["engine.url is missing"]),
        ("engine: fast", ["engine"]),
        ("responder: parrot", ["responder", "'direct', 'cascade', 'chat' or 'speech'"]),
        ("sampling: {temperature: 9}", ["sampling.temperature", "less than or equal to 2"]),
        ("vocoder: {device: tpu}", ["vocoder.device", "cuda"]),
        ("limits: {max_sessions: many}", ["limits.max_sessions", "'many'"]),
        ("voice: [a", ["line "]),
        ("- a\n- b", ["line "]),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(
    profile: Path, line: str, names: list[str]
) -> None:
    kept = [old for old in GOOD.splitlines() if old.split(":")[0] != line.split(":", maxsplit=1)[0]]
    profile.write_text("\n".join([*kept, line]))
    message = refusal(profile)
    assert all(name in message for name in names), message


def test_an_override_of_an_unknown_key_is_refused(profile: Path) -> None:
    assert "engine.precison is no key" in refusal(profile, {"STEP_AUDIO__ENGINE__PRECISON": "1"})


def test_an_override_cannot_enter_a_single_value(profile: Path) -> None:
    assert "'voice'" in refusal(profile, {"STEP_AUDIO__VOICE__NAME": "x"})


def test_several_mistakes_are_counted(profile: Path) -> None:
    profile.write_text(GOOD + "tools: {kind: x}\nlimits: {max_sessions: 0}\n")
    assert "(and 1 more)" in refusal(profile)


@pytest.mark.parametrize(
    "content",
    [b"", b"just text", b"\xff\xfe\x00", b"[" * 5000, b"1: 2", b"a: &x [*x]", b"#" * 70000],
)
def test_what_is_no_profile_is_refused(profile: Path, content: bytes) -> None:
    profile.write_bytes(content)
    assert str(profile) in refusal(profile)


@pytest.mark.parametrize("name", ["nope", "../nano", "", "nano/../tts-3b"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    assert "aqaa-130b, chat-130b, local-chat, nano, one-gpu, scripted, tts-3b" in refusal(name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path / "none.yaml")
