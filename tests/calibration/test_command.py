"""`chipctl characterize` as a person or a script runs it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from chipctl.cli.main import app
from chipctl.runs.store import list_runs

CHIP = ("--chip", "sim://?preset=good&seed=5")


@pytest.fixture
def characterize(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["characterize", *CHIP, "--runs", str(tmp_path), *words])

    return run


def test_a_run_keeps_data_report_and_numbers(characterize, tmp_path):
    done = characterize("6a", "2f", "--quick", "--json")
    facts = json.loads(done.stdout)
    (run,) = list_runs(tmp_path)
    assert done.exit_code == 0
    assert list(facts["procedures"]) == ["2f", "6a"]
    assert run.record.outcome == "done"
    assert run.record.summary["procedures"] == facts["procedures"]
    page = run.report_path.read_text()
    assert page.count("<svg") == 2
    assert "0.108 µS" in page
    data = run.load("6a")
    readback, unit = data["readback"]
    by_hand = np.nanstd(readback - data["target"][0])
    told = {n["name"]: n["value"] for n in facts["procedures"]["6a"]["numbers"]}
    assert unit == "S"
    assert told["σ of the error"] == pytest.approx(by_hand)


def test_a_profile_saves_the_scan(characterize, tmp_path):
    profile = tmp_path / "chip.json"
    characterize("6a", "--quick", "--profile", str(profile))
    assert len(json.loads(profile.read_text())["arrays"]["0"]["stuck"]) > 0
    assert json.loads(profile.read_text())["arrays"]["1"]["scanned"] is None


@pytest.mark.parametrize("words", [(), ("9z",), ("2d", "--array", "7")])
def test_what_cannot_be_measured_ends_in_one_line(characterize, words):
    done = characterize(*words)
    assert isinstance(done.exception, ValueError)
    assert "\n" not in str(done.exception)
