"""Every kept input keeps its invariant. With atheris, each target also gets new inputs for a second."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import CORPUS, NO_ATHERIS, ROOT, has_atheris
from tests.fuzz.mutation import Format, mutate
from tests.fuzz.registry import TARGETS
from tests.fuzz.targets import GATEWAY_ROUTES

MAX_CORPUS_BYTES = 300_000
KEPT = [(name, path) for name in TARGETS for path in sorted((CORPUS / name).glob("*"))]


@pytest.mark.parametrize(("name", "path"), KEPT, ids=[f"{name} {path.name}" for name, path in KEPT])
def test_a_kept_input_keeps_the_invariant_of_its_target(name: str, path: Path) -> None:
    TARGETS[name].run(path.read_bytes())


def test_each_target_has_kept_inputs_and_together_they_are_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert {name for name, _ in KEPT} == TARGETS.keys()
    assert sum(path.stat().st_size for _, path in KEPT) < MAX_CORPUS_BYTES


def test_a_mutation_by_structure_is_the_same_for_a_seed_and_not_too_long() -> None:
    data = (CORPUS / "gateway_messages" / "sequence").read_bytes()
    for seed in range(300):
        changed = [mutate(Format.LINES, data, 700, seed, lambda data, _: data[:5]) for _ in range(2)]
        assert changed[0] == changed[1]
        assert len(changed[0]) <= 700


def test_each_route_with_a_body_has_a_kept_input() -> None:
    kept = [path.read_bytes() for name, path in KEPT if name == "gateway_bodies"]
    assert {data[1] % len(GATEWAY_ROUTES) for data in kept} == set(range(len(GATEWAY_ROUTES)))


@pytest.mark.slow
@pytest.mark.skipif(not has_atheris(), reason=NO_ATHERIS)
def test_no_target_breaks_its_invariant_in_a_second_of_new_inputs() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" inputs\n") == len(TARGETS)
    assert ": 0 inputs" not in done.stdout
