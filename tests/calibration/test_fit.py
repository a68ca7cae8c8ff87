"""`chipctl fit`: tables measured elsewhere, here on virtual chips whose parameters are known."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.programming.hidden import hidden_parameters
from benchmarks.programming.twins import hidden_truth
from calibration.fit_tables import PULSE_COLUMNS, read_pulses, read_reads
from chipctl.board import Region
from chipctl.cli.main import app
from chipctl.gate_law import GateLaw
from chipctl.profile import ChipProfile
from chipctl.runs.store import list_runs
from firmware_protocol.messages import RESET, SET
from sim_chip.parameters import FaultShares

SEED = 3
REGION = Region(10, 3, 0, 64)
GOOD_ROW = ("a", "SET", "2.0", "1.1", "1e-6", "2e-6", "5e-5")


@pytest.fixture
def bench(make_bench):
    return make_bench(replace(hidden_parameters(SEED), faults=FaultShares()), SEED)


@pytest.fixture
def fit(tmp_path):
    def run(path, *words):
        kept = ("--runs", str(tmp_path / "runs"), "--json", "--profile", str(tmp_path / "chip.json"))
        done = CliRunner().invoke(app, ["fit", str(path), *kept, *words])
        assert not done.exception or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, json.loads(done.stdout)

    return run


def write(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def random_pulses(bench, count=60):
    """SET and RESET pulses of random voltages in turn, read before and after, as a bench might keep them."""
    chip, rng = bench.chip, np.random.default_rng(SEED)
    chip.measure_zero(0)
    chosen = np.zeros((64, 64), bool)
    chosen[REGION.slices] = True
    before, rows = chip.read(0, REGION, reads=4).ravel(), []
    for number in range(count):
        direction = (SET, RESET)[number % 2]
        span, gates = ((1.0, 3.2), (0.85, 1.25)) if direction == SET else ((0.8, 1.9), (5.0, 5.0))
        volts = np.where(chosen, rng.uniform(*span, chosen.shape), np.nan)
        gate = rng.uniform(*gates, chosen.shape)
        width = (1e-6, 1e-6, 1e-7, 1e-5)[number // 2 % 4]
        chip.pulse_each(0, direction, volts, gate, width)
        after = chip.read(0, REGION, reads=4).ravel()
        name = "SET" if direction == SET else "RESET"
        each = zip(volts[chosen], gate[chosen], before, after, strict=True)
        rows += [(f"d{n}", name, v, g, width, b, a) for n, (v, g, b, a) in enumerate(each)]
        before = after
    return rows


def test_pulses_tell_the_parameters_of_the_chip_they_were_given_to(bench, fit, tmp_path):
    wires, truth = bench.chip.truth.parameters.wires, hidden_truth(SEED)
    ohms = 330 + wires.driver_ohms + wires.tia_ohms + 86 * wires.segment_ohms
    path = write(tmp_path / "pulses.csv", PULSE_COLUMNS, random_pulses(bench))
    left = tmp_path / "residuals.csv"
    status, facts = fit(path, "--kind", "pulses", "--series-ohms", str(ohms), "--residuals", str(left))
    values = {name: value for result in facts["results"] for name, value in result["values"].items()}
    scores = {n: (values[n]["value"] - truth[n]) / values[n]["sigma"] for n in truth if n in values}
    assert status == 0
    assert len(scores) == 19
    assert {name: score for name, score in scores.items() if abs(score) > 4} == {}
    law = GateLaw.of(ChipProfile.load(tmp_path / "chip.json"), 1)
    assert law.threshold_volts == pytest.approx(truth["threshold"], abs=0.01)
    residuals = list(csv.DictReader(left.read_text().splitlines()))
    z = [float(row["residual"]) / float(row["sigma"]) for row in residuals]
    assert [int(row["line"]) for row in residuals[:2]] == [2, 3]
    assert np.std(z) == pytest.approx(1.0, abs=0.25)
    (run,) = list_runs(tmp_path / "runs")
    assert "<svg" in run.report_path.read_text()


def test_data_that_say_nothing_of_a_law_say_so(fit, tmp_path):
    rows = [(f"d{n}", *GOOD_ROW[1:-1], 4e-5 + n * 1e-7) for n in range(40)]
    status, facts = fit(write(tmp_path / "pulses.csv", PULSE_COLUMNS, rows), "--kind", "pulses")
    assert status == 1
    assert {"threshold", "ln_gain", "set_threshold"} <= set(facts["not_determined"])
    assert facts["results"][0]["reasons"] == ["these data determine no parameter: vary volts and gate_volts"]


def test_reads_tell_the_law_of_fluctuation(fit, tmp_path):
    rng = np.random.default_rng(1)
    us = rng.uniform(5, 50, 300)
    sigma = np.exp(0.782 * np.log(us) - 3.25 + rng.standard_normal(300))
    rows = [(f"d{n}", rng.normal(us[n], sigma[n]) * 1e-6) for _ in range(100) for n in range(300)]
    status, facts = fit(write(tmp_path / "reads.csv", ("device", "siemens"), rows), "--kind", "reads")
    values = facts["results"][0]["values"]
    assert status == 0
    for name, truth in (("slope", 0.782), ("offset", -3.25), ("spread", 1.0)):
        assert abs(values[name]["value"] - truth) < 4 * values[name]["sigma"], name


@pytest.mark.parametrize(
    ("column", "text", "complaint"),
    [
        ("direction", "up", "line 3: direction is 'up', SET or RESET is wanted"),
        ("volts", "", "line 3: volts is empty"),
        ("volts", "-1", "line 3: volts is -1, 0 to 10 V are possible"),
        ("width_s", "1000", "line 3: width_s is 1000, 1e-09 to 1 s are possible"),
        ("after_siemens", "50", "line 3: after_siemens is 50; conductances are in siemens"),
        ("before_siemens", "nan", "line 3: before_siemens is nan, a finite number is wanted"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_what_to_do(tmp_path, column, text, complaint):
    bad = list(GOOD_ROW)
    bad[PULSE_COLUMNS.index(column)] = text
    path = write(tmp_path / "pulses.csv", PULSE_COLUMNS, [GOOD_ROW, bad, GOOD_ROW])
    with pytest.raises(ValueError, match="mend or delete these lines") as refused:
        read_pulses(path)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_many_bad_rows_are_counted_not_all_told(tmp_path):
    path = write(tmp_path / "pulses.csv", PULSE_COLUMNS, [("a", "?", *GOOD_ROW[2:])] * 12)
    with pytest.raises(ValueError, match="and 7 more"):
        read_pulses(path)


def test_missing_columns_are_named(tmp_path):
    path = write(tmp_path / "pulses.csv", PULSE_COLUMNS[:-2], [GOOD_ROW[:-2]])
    with pytest.raises(ValueError, match="line 1 lacks the columns before_siemens, after_siemens"):
        read_pulses(path)
    with pytest.raises(ValueError, match="line 1 lacks the column siemens"):
        read_reads(path)


def test_devices_with_few_reads_are_refused_by_name(tmp_path):
    path = write(tmp_path / "reads.csv", ("device", "siemens"), [("lonely", 1e-5)] * 3)
    done = CliRunner().invoke(app, ["fit", str(path), "--kind", "reads"])
    assert "device lonely has 3 reads" in str(done.exception)
