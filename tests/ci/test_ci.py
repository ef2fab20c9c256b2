"""Each target of CI decides: a planted fault turns the run red and its last lines name it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.ci import __main__ as ci
from tests.ci import planted
from tests.ci.runner import run, summary
from tests.ci.targets import ALWAYS, BUDGET_S, SLOTS, Needs, Package, Target, of_this_run

ROOT: Final = Path(__file__).parents[2]
EVERYTHING: Final = [*ALWAYS, *(target for slot in SLOTS for target in slot)]
GREEN: Final = "@echo '3 passed in 1.00s'"


def checkout(folder: Path, targets: Sequence[Target], recipes: dict[str, str]) -> Path:
    """Make a repository whose Makefile has our targets and environments, with other recipes."""
    names = [target.name for target in targets]
    stamps = dict.fromkeys(name for target in targets for name in target.environments)
    lines = [".PHONY: " + " ".join([*names, *stamps])]
    for name in [*names, *stamps]:
        lines += [f"{name}:", f"\t{recipes.get(name, GREEN)}"]
    folder.mkdir(exist_ok=True)
    (folder / "Makefile").write_text("\n".join(lines) + "\n")
    (folder / "tracked.txt").write_text("as it was\n")
    (folder / ".gitignore").write_text("build/\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "One")):
        subprocess.run(
            ("git", "-c", "user.name=n", "-c", "user.email=e@x.org", *words),
            cwd=folder,
            check=True,
        )
    return folder


def anywhere(target: Target) -> Target:
    """Return a target that any machine can run."""
    return replace(target, needs=Needs())


FAULTS: Final = {
    "a test fails": ("@echo '1 failed, 2 passed in 1.00s'; exit 2", "failed with 2 1 failed"),
    "a tracked file is changed": (
        "@echo changed > tracked.txt",
        "it changed or left files: tracked.txt",
    ),
    "a file is left": ("@echo new > left.txt", "it changed or left files: left.txt"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("target", EVERYTHING, ids=lambda target: target.name)
def test_a_fault_in_any_target_turns_the_run_red(
    target: Target, fault: str, tmp_path: Path
) -> None:
    recipe, said = FAULTS[fault]
    targets = [anywhere(one) for one in EVERYTHING]
    folder = checkout(tmp_path / "checkout", targets, {target.name: recipe})
    outcomes = run([t for t in targets if t.name == target.name], folder, BUDGET_S)
    lines = summary(outcomes)
    assert outcomes[0].why.startswith(said)
    assert f"RED      {target.shown}: {said}" in "\n".join(lines)
    assert lines[-1] == "1 targets: 0 green (0 at the second try), 1 red, 0 left out"


@pytest.mark.parametrize("target", EVERYTHING, ids=lambda target: target.name)
def test_a_target_that_is_not_done_in_its_time_is_red(target: Target, tmp_path: Path) -> None:
    slow = replace(anywhere(target), limit_s=0.3)
    folder = checkout(tmp_path / "checkout", [slow], {target.name: "@sleep 60"})
    (outcome,) = run([slow], folder, BUDGET_S)
    assert outcome.why == "not done in its time; stopped"


@pytest.mark.parametrize(
    "target", [t for t in EVERYTHING if t.environments], ids=lambda target: target.name
)
@pytest.mark.parametrize(
    ("recipe", "said"), [("@exit 1", "could not be made"), ("@sleep 60", "not made in its time")]
)
def test_an_environment_that_is_not_made_is_red(
    target: Target, recipe: str, said: str, tmp_path: Path
) -> None:
    stamp = target.environments[-1]
    slow = replace(anywhere(target), set_up_s=2.0)
    folder = checkout(tmp_path / "checkout", [slow], {stamp: recipe})
    (outcome,) = run([slow], folder, BUDGET_S)
    assert outcome.why == f"its environment {stamp} {said}"


def test_what_the_machine_lacks_leaves_a_target_out_and_is_counted(tmp_path: Path) -> None:
    needs = Needs(
        commands=(("no-such-program", "nor-this"),),
        machine="Plan9 m68k",
        memory_gib=1e6,
        disk_gib=1e9,
    )
    targets = [Target("elsewhere", 10, needs=needs), Target("here", 10)]
    folder = checkout(tmp_path / "checkout", targets, {"elsewhere": "@exit 1"})
    lines = summary(run(targets, folder, BUDGET_S))
    assert lines[0] == (
        "left out make elsewhere: the machine lacks no-such-program or nor-this, Plan9 m68k,"
        " 1e+06 GiB of memory, 1e+09 GiB of free disk"
    )
    assert lines[-1] == "2 targets: 1 green (0 at the second try), 0 red, 1 left out"


def test_tests_that_were_left_out_are_told_once_with_their_number(tmp_path: Path) -> None:
    says = "@echo 'left out: 4 tests, needs a CUDA device'; echo '1 passed in 1.00s'"
    targets = [Target("one", 10), Target("two", 10)]
    folder = checkout(tmp_path / "checkout", targets, {"one": says, "two": says})
    lines = summary(run(targets, folder, BUDGET_S))
    assert lines.count("left out 4 tests: needs a CUDA device") == 1


def test_a_second_try_is_told_and_a_fault_fails_both(tmp_path: Path) -> None:
    # `build/` is ignored: what is kept there is no change.
    once = "@mkdir -p build; test -e build/tried || { touch build/tried; exit 1; }"
    targets = [Target("wavers", 10, again_s=10), Target("broken", 10, again_s=10)]
    folder = checkout(tmp_path / "checkout", targets, {"wavers": once, "broken": "@exit 1"})
    wavers, broken = run(targets, folder, BUDGET_S)
    assert wavers.second_try
    assert not wavers.why
    assert broken.why.startswith("failed with 2")


def test_a_red_target_does_not_keep_the_next_from_being_run(tmp_path: Path) -> None:
    targets = [Target("broken", 10), Target("well", 10)]
    folder = checkout(tmp_path / "checkout", targets, {"broken": "@exit 1"})
    assert [bool(outcome.why) for outcome in run(targets, folder, BUDGET_S)] == [True, False]


def test_what_has_no_time_left_is_red(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout", [Target("late", 10)], {})
    (outcome,) = run([Target("late", 10)], folder, budget_s=0)
    assert outcome.why == "not run: the time of the whole run is used up"


def test_changes_that_were_there_before_are_nobodys_fault(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout", [Target("well", 10)], {})
    (folder / "tracked.txt").write_text("somebody's work\n")
    (outcome,) = run([Target("well", 10)], folder, BUDGET_S)
    assert not outcome.why


def test_three_runs_in_a_row_meet_every_target() -> None:
    runs = [{target.name for target in of_this_run(number)} for number in (7, 8, 9)]
    assert set.union(*runs) == {target.name for target in EVERYTHING}
    always = {target.name for target in ALWAYS}
    assert all(always <= names for names in runs)


def test_the_slot_goes_by_the_main_line_and_without_history_by_the_day(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout", [], {})
    assert ci.number_of_run(folder, 0.0) == (1, "commit 1 of the main line")
    (folder / "tracked.txt").write_text("another\n")
    commit = ("git", "-c", "user.name=n", "-c", "user.email=e@x.org", "commit", "-qam", "Two")
    subprocess.run(commit, cwd=folder, check=True)
    assert ci.number_of_run(folder, 0.0)[0] == 2
    shallow = tmp_path / "shallow"
    subprocess.run(("git", "clone", "-q", "--depth=1", f"file://{folder}", shallow), check=True)
    assert ci.number_of_run(shallow, 5.5 * ci.DAY_S)[0] == 5


def test_without_git_the_day_decides_and_no_file_is_held_against_a_target(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("well:\n\t@echo x > left.txt\n")
    assert ci.number_of_run(tmp_path, 7.5 * ci.DAY_S) == (7, "day 7; the checkout has no history")
    (outcome,) = run([Target("well", 10)], tmp_path, BUDGET_S)
    assert not outcome.why


def test_the_environment_chooses_targets_and_wrong_names_are_told() -> None:
    assert [t.name for t in ci.chosen(0, {"CI_ONLY": "test-api soak"})] == ["test-api", "soak"]
    assert {t.name for t in ci.chosen(0, {"CI_SLOT": "all"})} == {t.name for t in EVERYTHING}
    assert ci.chosen(0, {"CI_SLOT": "2"}) == of_this_run(2)
    with pytest.raises(SystemExit, match="CI_ONLY names nothing; there is test, "):
        ci.chosen(0, {"CI_ONLY": "nothing"})
    with pytest.raises(SystemExit, match="CI_SLOT is 'x'"):
        ci.chosen(0, {"CI_SLOT": "x"})


def test_a_package_is_there_by_what_it_brings(tmp_path: Path) -> None:
    packages = [Package("a", ("sh",)), Package("b", (str(tmp_path),)), Package("c", ("sh", "/x"))]
    assert ci.install(packages) == ([], "")


@pytest.mark.parametrize("target", EVERYTHING, ids=lambda target: target.name)
def test_the_makefile_knows_each_target_and_environment(target: Target) -> None:
    for words in ((target.name, *target.variables), *((stamp,) for stamp in target.environments)):
        done = subprocess.run(
            ("make", "-n", *words), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_each_target_has_a_fault_to_plant() -> None:
    assert set(planted.FAULTS) == {target.name for target in EVERYTHING} - {"test-gpu"}


@pytest.mark.parametrize("name", planted.FAULTS)
def test_a_fault_fits_the_file_that_it_is_planted_in(name: str, tmp_path: Path) -> None:
    fault = planted.FAULTS[name]
    whole = (ROOT / fault.path).read_text(encoding="utf-8")
    there = tmp_path / fault.path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(whole, encoding="utf-8")
    fault.plant(tmp_path)
    assert there.read_text(encoding="utf-8") != whole
    there.write_text("something else", encoding="utf-8")
    if fault.old:
        with pytest.raises(ValueError, match="0 times"):
            fault.plant(tmp_path)
