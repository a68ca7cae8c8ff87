"""The wire proved in short form, in real processes: bad and pulled cables, what is killed or fails, fuzz."""

import json
import subprocess
import sys

import pytest


def proved(repository, *sizes):
    nothing = ["--cables", "0", "--unplugs", "0", "--kills", "0", "--faults", "0", "--fuzz", "0"]
    command = [sys.executable, "-m", "benchmarks.prove_wire", *nothing, *sizes, "--json"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


SHORT = {
    "bad cables": ("--cables", "1", "--only", "loss"),
    "many effects": ("--cables", "1", "--unplugs", "1", "--only", "singles-mixed", "singles-unplug-tcp"),
    "pulled cable": ("--unplugs", "1", "--only", "unplug-tcp"),
    "kill -9, SIGINT": ("--kills", "1"),
    "faults": ("--faults", "3"),
    "fuzz": ("--fuzz", "100000"),
}


@pytest.mark.parametrize("sizes", SHORT.values(), ids=SHORT)
def test_no_pulse_is_given_twice_and_no_belief_is_wrong(pytestconfig, sizes):
    for line in proved(pytestconfig.rootpath, *sizes):
        assert line["cases"] > 0
        assert line["faults"] > 0
        assert (line["double_pulses"], line["wrong_beliefs"], line["hangs"]) == (0, 0, 0), line["name"]
