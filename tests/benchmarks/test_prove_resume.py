"""Killed programming is gone on with, in its short form, through real processes."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.prove_resume import _guessed
from chipctl.runs.journal import Done, Entry, Fate, Intent
from chipctl.runs.record import Process, RunRecord
from chipctl.runs.store import Run


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


@pytest.mark.parametrize(("judged", "guessed"), [((3, 5), 1), ((3, 5, 9), 0), (None, 3)])
def test_pulses_are_guesses_unless_a_reading_that_was_kept_found_their_device_off(tmp_path, judged, guessed):
    """A resumption pulses devices 3, 5 and 9; `judged` are those that it had read out of tolerance."""
    devices = np.arange(4096).reshape(64, 64)
    with Run(tmp_path, RunRecord.begin("program")) as run:
        run.update(resumed=[Process.this()])
        if judged is not None:
            run.save("judged1/array1", out_of_tolerance=(np.isin(devices, judged), "1"))
    pulses = np.isin(devices, (3, 5, 9)).astype(np.int64)
    intent = Intent(run.path.name, "StartProgram", 1, 1, 1, 0, b"")
    entry = Entry(1, intent, datetime.now(UTC), Done(Fate.PLACED, pulses, pulses))
    assert _guessed(run, [entry]) == guessed
