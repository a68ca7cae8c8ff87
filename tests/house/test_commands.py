"""The commands a newcomer types are there."""

import re
import subprocess

import pytest


def targets(repository):
    text = (repository / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))


def test_the_commands_of_the_readme_are_in_the_makefile(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)
    assert named[:2] == ["demo", "test"]
    assert set(named) <= targets(repository)


def test_the_gate_runs_the_test_commands(repository):
    text = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"make (test\S*)$", text, flags=re.MULTILINE) == ["test", "test-extras"]


@pytest.mark.parametrize("script", ["run", "demo"])
def test_scripts_are_executable_and_parse(repository, script):
    path = repository / ".ci" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True, timeout=10)
