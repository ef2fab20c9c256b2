"""The deployment files say what the code does: commands parse, keys exist, images are hardened."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from step_audio.cli import main
from step_audio.cli.arguments import parser
from step_audio.core.config import load_profile
from step_audio.core.profile import WhisperSection

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))


def _filled(text: str) -> str:
    """Return a compose value with its ${NAME:-default} filled in."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "given", text)


def _services() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path.name, name, service)
        for path in COMPOSE
        for name, service in yaml.safe_load(path.read_text())["services"].items()
    ]


SERVICES = _services()
OURS = [(f, n, s) for f, n, s in SERVICES if str(s.get("image", "")).startswith("step-audio")]


@pytest.mark.parametrize(("file", "name", "service"), OURS, ids=[f"{f}:{n}" for f, n, _ in OURS])
def test_commands_and_keys_of_a_service_are_known(
    file: str, name: str, service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [_filled(word) for word in service["command"]]
    if service["image"] == "step-audio-vllm":  # its entry point is `step-audio engine`
        words = ["engine", *words]
    args = parser().parse_args(words)
    for key, value in service.get("environment", {}).items():
        monkeypatch.setenv(key, _filled(value))
    profile = load_profile(args.profile)
    if name == "gateway" and "engine" in yaml.safe_load((DOCKER / file).read_text())["services"]:
        assert getattr(profile.engine, "url", None) == ("http://engine:8000",)


def test_a_profile_that_hears_by_whisper_has_it_in_its_image() -> None:
    step = (DOCKER / "steps" / "install-packages").read_text()
    wanted = step.partition('if [ "${VARIANT:-cuda}" != cpu ] || [ -n "${WHISPER:-}" ]; then')[2]
    assert "requirements/whisper.lock" in wanted.partition("fi")[0]
    hearing = 0
    for file, name, service in OURS:
        if name != "gateway":
            continue
        profile = parser().parse_args([_filled(word) for word in service["command"]]).profile
        if isinstance(load_profile(profile, {}).transcriber, WhisperSection):
            args, hearing = service["build"]["args"], hearing + 1
            assert args.get("VARIANT") == "cuda" or args.get("WHISPER"), file
    assert hearing


def test_spans_can_be_exported_from_every_image_of_the_server() -> None:
    step = (DOCKER / "steps" / "install-packages").read_text()
    (line,) = [line for line in step.splitlines() if "requirements/telemetry.lock" in line]
    assert line.startswith('"$python" -m pip install'), "whatever the variant"
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]
    lock = (DOCKER.parent / "requirements" / "telemetry.lock").read_text()
    for wanted in project["optional-dependencies"]["telemetry"]:
        assert f"\n{wanted}==" in lock
    # The build itself ends where the exporter cannot be imported.
    assert "STEP_AUDIO__SERVER__SPANS=true" in (DOCKER / "steps" / "install-project").read_text()


@pytest.mark.parametrize(("file", "name", "service"), OURS, ids=[f"{f}:{n}" for f, n, _ in OURS])
def test_gateways_run_without_rights(file: str, name: str, service: dict[str, Any]) -> None:
    if name != "gateway":
        return
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    reached = [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
    if reached:
        assert "STEP_AUDIO__SERVER__API_KEY" in service["environment"], "open to all without a key"


def _commands(path: Path) -> list[dict[str, str]]:
    """Return the variables of every command that the first lines of a compose file show."""
    told = re.findall(
        rf"^# +((?:\w+=\S+ )*)docker compose -f docker/{path.name}", path.read_text(), re.M
    )
    return [dict(word.split("=", 1) for word in words.split()) for words in told]


@pytest.mark.parametrize(
    "path", [p for p in COMPOSE if p.name != "compose.yaml"], ids=lambda p: p.name
)
def test_the_commands_at_the_top_of_compose_files_give_what_is_asked(path: Path) -> None:
    commands = _commands(path)
    assert commands
    text = path.read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    default = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    for given in commands:
        assert required <= set(given), "the command does not start"
        assert set(given) <= required | set(default), "a variable that the file does not read"
        values = default | given
        if "ENGINE_GPUS" in values:
            cards = values["ENGINE_GPUS"].split(",")
            assert int(values["TP"]) == len(cards) == len(set(cards))


@pytest.mark.parametrize(
    "path", [p for p in COMPOSE if "TP:-" in p.read_text()], ids=lambda p: p.name
)
def test_the_plan_says_that_the_cards_of_a_compose_command_suffice(path: Path) -> None:
    text = path.read_text()
    profile = path.name.split(".")[1]
    default = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    for given in _commands(path):
        values = default | given
        words = ["plan", "--profile", profile, "--gpu", "h100", "--count", values["TP"]]
        words += ["--quantization", values.get("QUANTIZATION") or "bf16", "--sessions", "1"]
        assert main(words) == 0, given
        engine = ["engine", "--profile", profile, "--tp", values["TP"], "--dry-run"]
        assert main(engine) == 0, given


@pytest.mark.parametrize(
    ("file", "name", "service"), SERVICES, ids=[f"{f}:{n}" for f, n, _ in SERVICES]
)
def test_services_start_again_after_a_fault(file: str, name: str, service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"


def test_the_proxy_resolves_the_gateways_where_it_reads_the_resolver() -> None:
    # nginx reads `resolver` for `server ... resolve` in the upstream block or in http, and in no
    # server block: it would not start. `make test-docker` asks nginx itself.
    text = (DOCKER / "proxy" / "gateway.conf").read_text()
    (upstream,) = re.findall(r"^upstream \w+ \{\n(.*?)^\}", text, re.M | re.S)
    assert re.search(r"^ +server .* resolve\b.*;$", upstream, re.M)
    assert re.search(r"^ +resolver ", upstream, re.M)


@pytest.mark.parametrize("path", COMPOSE, ids=lambda p: p.name)
def test_every_build_and_mounted_file_of_compose_is_there(path: Path) -> None:
    for service in yaml.safe_load(path.read_text())["services"].values():
        if "build" in service:
            assert (DOCKER.parent / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DOCKER / source).exists(), source


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_dockerfiles_pin_their_base_and_copy_what_is_there(path: Path) -> None:
    text = path.read_text()
    bases = re.findall(r"^ARG \w*(?:BASE|IMAGE)\w*=(\S+)$", text, re.MULTILINE)
    assert bases
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (DOCKER.parent / source).exists(), source
    for step in re.findall(r"docker/steps/[\w-]+", text):
        script = DOCKER.parent / step
        assert script.stat().st_mode & stat.S_IXUSR, f"{step} is not executable"
    assert "ADD " not in text
    assert "sudo" not in text


def test_the_server_image_runs_as_nobody_special_and_checks_its_health() -> None:
    text = (DOCKER / "server.Dockerfile").read_text()
    assert re.search(r"^USER (?!root|0)\S+$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert re.search(r'^ENTRYPOINT \["step-audio"\]$', text, re.MULTILINE)


def test_kubernetes_probes_and_drain_fit_the_server() -> None:
    path = DOCKER / "kubernetes" / "gateway.yaml"
    deployment = next(d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    (key,) = (e for e in container["env"] if e["name"] == "STEP_AUDIO__SERVER__API_KEY")
    assert not key["valueFrom"]["secretKeyRef"].get("optional"), "reached by a name, without a key"
    assert container["lifecycle"]["preStop"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    parser().parse_args(container["args"])
    kustomization = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
    assert all((path.parent / name).is_file() for name in kustomization["resources"])


def test_autoscaling_follows_the_sessions_metric() -> None:
    scaler = yaml.safe_load((DOCKER / "kubernetes" / "autoscaling.yaml").read_text())
    metric = scaler["spec"]["metrics"][0]["pods"]
    assert metric["metric"]["name"] == "step_audio_sessions"
    most = load_profile("nano", environ={}).limits.max_sessions
    assert 0 < int(metric["target"]["averageValue"]) < most
