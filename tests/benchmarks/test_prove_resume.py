"""Killed programming is gone on with, in its short form, through real processes."""

import json
import subprocess
import sys


def test_after_kill_9_of_host_board_and_both_nothing_is_lost_or_guessed(pytestconfig):
    command = [sys.executable, "-m", "benchmarks.prove_resume", "--kills", "3", "--modes", "paper", "--json"]
    done = subprocess.run(
        command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line["name"].partition(": ")[2]: line for line in json.loads(done.stdout)}
    assert lines["cases hit while the run was under way"]["value"] == 3
    assert lines["processes killed"]["value"] >= 4
    for name in ("counters that differ from the journal", "devices pulsed on a guess"):
        assert lines[name]["value"] == 0
