"""The tutorials are true: each command is given in order, and prints and returns what the page says."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGES = ("new-chip", "program-a-map", "nightly-calibration")
"""In this order, on one virtual chip."""

PLACES = ("/tmp/chip", "/tmp/broken")
"""Ports of the pages; here they lie in the test's own folder."""

ONE_ARRAY = ("--array", "0")
CHEAPER = {"scan": ONE_ARRAY, "calibrate": ("--quick", "--keep-maps", *ONE_ARRAY)}
"""Of one array, calibrated with fewer points and without pulses: what else there is takes a minute."""


TIMES = "(s|min)"
"""How old something is, a test tells in either."""


@dataclass(frozen=True)
class Step:
    """A command of a page, and the lines that it shows for it."""

    command: str
    shown: list[str]


def steps_of(text):
    """The commands in the console blocks of a page."""
    steps = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        lines = iter(block.splitlines())
        for line in lines:
            if line.startswith("$ "):
                command = [line.removeprefix("$ ")]
                if "<<'END'" in line:
                    command.extend(iter(lambda lines=lines: next(lines), "END"))
                    command.append("END")
                steps.append(Step("\n".join(command), []))
            elif line.strip() not in ("", "…"):
                steps[-1].shown.append(line)
    return steps


def pattern_of(line):
    """What a printed line must look like: the same words; where the page has a number, anything."""
    words = [".*" if re.search(r"[\d…]", word) else re.escape(word) for word in line.split()]
    return r"\s*".join(TIMES if word in ("s", "min") else word for word in words)


class Shell:
    """The terminals of somebody who follows a tutorial."""

    def __init__(self, folder):
        self.folder, self.env = folder, {"COLUMNS": "250", "NO_COLOR": "1"}
        self.served = {}
        command = [sys.executable, str(Path(__file__).with_name("preloaded.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.preloaded = subprocess.Popen(command, env=os.environ | self.env, **pipes)

    def __call__(self, command):
        """Exit status and everything printed."""
        for place in PLACES:
            command = command.replace(place, str(self.folder / Path(place).name))
        program, *words = shlex.split(command) if "<<" not in command else ["cat"]
        if program == "export":
            self.env.update(word.split("=", 1) for word in words)
            return 0, ""
        if program == "sim-chip":
            return 0, self.serve(words)
        if program == "chipctl":
            return self.chipctl(words)
        if program == "timeout":
            return self.chipctl(words[words.index("chipctl") + 1 :], stopped=True)
        return self.other(command)

    def serve(self, words):
        """A virtual chip in another terminal, in place of the one that was there."""
        port = words[words.index("--pty") + 1]
        if port in self.served:
            self.end(self.served[port])
        server = [sys.executable, "-m", "sim_chip.cli", *words]
        self.served[port] = subprocess.Popen(server, stderr=subprocess.PIPE, text=True, cwd=self.folder)
        return self.served[port].stderr.readline().replace(str(self.folder), "/tmp")

    def chipctl(self, words, *, stopped=False):
        """A command; one to be stopped gets a Ctrl-C when it has begun to pulse."""
        output = self.folder / "output.txt"
        extra = () if "--array" in words else CHEAPER.get(words[0], ())
        request = {
            "words": [*words, *extra],
            "env": self.env,
            "folder": str(self.folder),
            "output": str(output),
        }
        print(json.dumps(request), file=self.preloaded.stdin, flush=True)
        number = int(self.preloaded.stdout.readline())
        if stopped:
            while not self.begun():
                time.sleep(0.2)
            time.sleep(2)  # some of the fourteen seconds that the ramps take
            os.kill(number, signal.SIGINT)
        return int(self.preloaded.stdout.readline()), output.read_text()

    def begun(self):
        """Whether a run is being programmed: it has kept its plan, and is not at its end."""
        kept = sorted((self.folder / "runs").glob("*-program-*/run.json"))
        at_work = json.loads(kept[-1].read_text())["outcome"] == "running"
        return at_work and kept[-1].with_name("data.h5").exists()

    def other(self, command):
        """A command of the system."""
        env = os.environ | self.env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def end(self, process):
        """End a process as its user would."""
        process.terminate()
        process.communicate(timeout=20)

    def close(self):
        """End all."""
        self.preloaded.stdin.close()
        self.preloaded.wait(20)
        self.preloaded.stdout.close()
        for server in self.served.values():
            self.end(server)


@pytest.fixture
def shell(tmp_path):
    opened = Shell(tmp_path)
    yield opened
    opened.close()


@pytest.mark.timeout(400)
def test_the_tutorials_do_what_they_say(shell, repository):
    pages = [(repository / "docs" / "tutorials" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES]
    steps = [step for page in pages for step in steps_of(page)]
    assert len(steps) > 30
    for step, after in zip(steps, [*steps[1:], Step("", [])], strict=True):
        if step.command == "echo $?":
            continue
        status, printed = shell(step.command)
        wanted = int(after.shown[0]) if after.command == "echo $?" else 0
        assert status == (130 if step.command.startswith("timeout") else wanted), (step.command, printed)
        for line in step.shown:
            assert re.search(pattern_of(line), printed), (step.command, line, printed)


def test_the_index_names_every_page_and_no_other(repository):
    docs = repository / "docs"
    named = set(re.findall(r"\]\(([\w/-]+\.md)\)", (docs / "README.md").read_text(encoding="utf-8")))
    there = {path.relative_to(docs).as_posix() for path in [*docs.glob("*.md"), *docs.glob("tutorials/*.md")]}
    assert named == there - {"README.md"}


def test_no_tutorial_is_without_its_test(repository):
    pages = {path.stem for path in (repository / "docs" / "tutorials").glob("*.md")}
    assert pages == {*PAGES, "verdicts"}
    assert "```console" not in (repository / "docs" / "tutorials" / "verdicts.md").read_text(encoding="utf-8")
