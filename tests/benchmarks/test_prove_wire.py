"""The wire proved in its short form, through real processes: a bad cable, killed hosts and boards, fuzz."""

import json
import subprocess
import sys

import pytest


def proved(repository, *sizes):
    nothing = ["--cables", "0", "--kills", "0", "--fuzz", "0"]
    command = [sys.executable, "-m", "benchmarks.prove_wire", *nothing, *sizes, "--json"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


SHORT = [("--cables", "1", "--only", "loss"), ("--kills", "1"), ("--fuzz", "100000")]


@pytest.mark.parametrize("sizes", SHORT, ids=["bad cable", "kill -9", "fuzz"])
def test_no_pulse_is_given_twice_and_no_belief_is_wrong(pytestconfig, sizes):
    for line in proved(pytestconfig.rootpath, *sizes):
        assert line["cases"] > 0
        assert line["faults"] > 0
        assert (line["double_pulses"], line["wrong_beliefs"], line["hangs"]) == (0, 0, 0), line["name"]
