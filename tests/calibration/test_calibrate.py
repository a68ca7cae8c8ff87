"""`chipctl calibrate`: verdicts, resuming, stopping, and what is left in the profile."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.calibrate import AnomalyFound, Freshness, Order, calibrate, freshness, tasks_of
from calibration.procedures import PROCEDURES, in_order
from chipctl.cli.main import app
from chipctl.profile import ChipProfile
from chipctl.results import CalibrationResult, Quantity
from chipctl.runs.journal import Journal
from chipctl.runs.programmed import pulses_of
from chipctl.runs.store import list_runs
from sim_chip import state
from sim_chip.faults import FaultPlan

CHIP = ("--chip", "sim://?preset=good&seed=5")
FIRST = ("rails", "adcs", "zeros")


@pytest.fixture
def command(tmp_path):
    def run(*words):
        kept = ("--runs", str(tmp_path / "runs"), "--profile", str(tmp_path / "chip.json"))
        return CliRunner().invoke(app, ["calibrate", *CHIP, *kept, *words])

    return run


def loaded(tmp_path):
    return ChipProfile.load(tmp_path / "chip.json")


def test_results_are_in_the_profile_with_date_run_and_verdict(command, tmp_path):
    done = command("zeros", "--quick", "--json")
    facts = json.loads(done.stdout)
    (run,) = list_runs(tmp_path / "runs")
    result = loaded(tmp_path).result("zeros", 2)
    assert done.exit_code == 0
    assert facts["passed"]
    assert [item["procedure"] for item in facts["results"]] == ["rails", *["adcs"] * 3, *["zeros"] * 3]
    assert result.passed
    assert result.quick
    assert result.run == run.record.name
    assert result.age() < timedelta(minutes=5)
    assert loaded(tmp_path).arrays[2].zero_codes == pytest.approx(result.value("zero_codes")[0])
    assert run.load("zeros/array2")["zero_codes"][0] == pytest.approx(result.value("zero_codes"))
    assert run.report_path.read_text().count("<svg") == 7


def test_the_pulses_of_a_calibration_are_in_the_journal_under_its_run(tmp_path):
    address, runs = f"sim://?preset=good&seed=5&state={tmp_path / 'state'}", tmp_path / "runs"
    words = ["gate", "--quick", "--array", "1", "--runs", str(runs), "--profile", str(tmp_path / "chip.json")]
    assert CliRunner().invoke(app, ["calibrate", "--chip", address, *words]).exit_code == 0
    counters = state.load(tmp_path / "state", mapped=True).pulse_count.astype(int).reshape(3, 64, 64)
    (run,) = list_runs(runs)
    with Journal(runs) as journal:
        (chip,) = journal.chips()
        np.testing.assert_array_equal(journal.wear(chip.id)[1].pulses, counters[1])
        pulses, _, unknown = pulses_of(journal.entries(run.record.name), (64, 64))
    np.testing.assert_array_equal(pulses, counters[1])
    assert unknown == 0 < pulses.sum()


def test_what_others_need_is_not_measured_again_while_fresh(command, tmp_path):
    command("adcs", "--quick", "--array", "0")
    facts = json.loads(command("zeros", "--quick", "--array", "0", "--json").stdout)
    assert [item["procedure"] for item in facts["results"]] == ["zeros"]


def test_a_calibration_that_was_killed_is_resumed(command, tmp_path, monkeypatch):
    def killed(bench):
        raise KeyboardInterrupt

    real = PROCEDURES["zeros"]
    monkeypatch.setitem(PROCEDURES, "zeros", type(real)(**{**vars(real), "measure": killed}))
    assert command(*FIRST, "--quick", "--array", "1").exit_code != 0
    monkeypatch.setitem(PROCEDURES, "zeros", real)
    kept = loaded(tmp_path).result("adcs", 1)
    facts = json.loads(command(*FIRST, "--quick", "--array", "1", "--resume", "--json").stdout)
    assert [item["procedure"] for item in facts["results"]] == ["zeros"]
    assert loaded(tmp_path).result("adcs", 1).measured == kept.measured
    again = json.loads(command(*FIRST, "--quick", "--array", "1", "--resume", "--json").stdout)
    assert len(again["results"]) == 3


def test_a_dead_adc_stops_everything_before_a_device_is_touched(make_bench):
    bench = make_bench("good", 3, faults=FaultPlan(dead_adcs=((0, 2),)))
    before = bench.chip.board.state().total_pulses
    done = []
    with pytest.raises(AnomalyFound, match="adcs/array0: gain, offset_codes far outside"):
        done.extend(calibrate(bench.chip, Order(tasks_of(in_order(["gate"]), [0]), quick=True)))
    assert [item.task.procedure.name for item in done] == ["rails", "adcs"]
    assert not done[-1].passed
    assert bench.chip.board.state().total_pulses == before


def test_what_needs_a_doubtful_result_is_left_out(make_bench):
    bench = make_bench("raw", 3)
    done = list(calibrate(bench.chip, Order(tasks_of(in_order(["tias"]), [0]), quick=True)))
    assert [item.passed for item in done] == [True, False, False, False]
    assert done[-1].reason == "needs adcs, which has no usable result"


def test_an_array_that_tells_nothing_leaves_a_reason_and_the_rest_goes_on(make_bench):
    bench = make_bench("ideal", conductance=np.full((64, 64), 1e-6))
    procedures = [PROCEDURES[name] for name in (*FIRST, "transistor", "tias")]
    done = list(calibrate(bench.chip, Order(tasks_of(procedures, [0]), quick=True)))
    by_name = {item.task.procedure.name: item for item in done}
    assert "0 devices conduct enough" in by_name["transistor"].reason
    assert by_name["tias"].passed


def test_the_plan_says_what_changes_devices_and_does_nothing(command, tmp_path):
    facts = json.loads(command("--all", "--dry-run", "--json").stdout)
    changes = {task["procedure"]: task["changes"] for task in facts["tasks"]}
    assert set(changes) == set(PROCEDURES)
    assert changes["adcs"] == "nothing"
    assert changes["gate"] == "pulses"
    assert facts["seconds"] > 0
    assert not (tmp_path / "runs").exists()
    kept = json.loads(command("--all", "--keep-maps", "--dry-run", "--json").stdout)
    assert {task["changes"] for task in kept["tasks"]} == {"nothing"}


def test_status_tells_what_is_stale(command):
    assert command("rails", "--status").exit_code == 1
    command("rails", "--quick")
    assert command("rails", "--status").exit_code == 0


def test_old_failed_and_overwritten_results_are_not_fresh():
    profile = ChipProfile.nominal("x", 1, 64, 64)
    (task,) = tasks_of([PROCEDURES["products"]], [0])
    good = {"slope": Quantity.of(np.ones(64), 0.01, "1", "col").within(0.5, 1.5)}
    kept, pulsed = (lambda array, counted: counted == 7), (lambda array, counted: False)
    assert freshness(task, profile) is Freshness.NEVER
    profile.keep(CalibrationResult.judged("products", good, valid_for={"total_pulses": 7}), 0)
    assert freshness(task, profile, kept) is Freshness.FRESH
    assert freshness(task, profile, pulsed) is Freshness.CHANGED
    assert freshness(task, profile, kept, datetime.now(UTC) + timedelta(days=30)) is Freshness.OLD
    bad = {"slope": good["slope"].within(0.0, 0.5)}
    profile.keep(CalibrationResult.judged("products", bad), 0)
    assert freshness(task, profile) is Freshness.FAILED


def test_nothing_named_is_refused_in_one_line(command):
    done = command()
    assert isinstance(done.exception, ValueError)
    assert "\n" not in str(done.exception)
