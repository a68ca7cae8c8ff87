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
    path = write(tmp_path / "reads.csv", ("device", "siemens"), rows)
    status, facts = fit(path, "--kind", "reads", "--converter-sigma", "0")
    values = facts["results"][0]["values"]
    assert status == 0
    for name, truth in (("slope", 0.782), ("offset", -3.25), ("spread", 1.0)):
        assert abs(values[name]["value"] - truth) < 4 * values[name]["sigma"], name


def reads_of(rng, us, sigma_us, converter_us, count=100):
    """Rows of reads of devices d0, d1, …: their own fluctuation and the converter's noise."""
    total = np.hypot(sigma_us, converter_us)
    return [
        (f"d{n}", rng.normal(us[n], total[n]) * 1e-6, converter_us[n] * 1e-6)
        for _ in range(count)
        for n in range(len(us))
    ]


def scores(facts, truth=(0.782, -3.25, 1.0)):
    """Slope, offset and spread off the truth, in standard uncertainties."""
    values = facts["results"][0]["values"]
    named = zip(("slope", "offset", "spread"), truth, strict=True)
    return [(values[name]["value"] - true) / values[name]["sigma"] for name, true in named]


@pytest.mark.parametrize("told", [True, False])
def test_converter_noise_is_taken_off_where_told_and_makes_the_law_fail_where_not(fit, tmp_path, told):
    rng = np.random.default_rng(2)
    us = rng.uniform(5, 48, 400)
    converter = np.where(us > 17, 1.0, 0.05)  # as where the conductance chooses the gain
    rows = reads_of(rng, us, np.exp(0.782 * np.log(us) - 3.25 + rng.standard_normal(400)), converter)
    width = 3 if told else 2
    head = ("device", "siemens", "converter_sigma")[:width]
    path = write(tmp_path / "reads.csv", head, [row[:width] for row in rows])
    status, facts = fit(path, "--kind", "reads", *(() if told else ("--converter-sigma", "0")))
    doubts = facts["results"][0]["doubts"]
    assert status == (0 if told else 1)
    assert [doubt.split(":")[0] for doubt in doubts] == ([] if told else ["misfit"])
    assert not told or np.abs(scores(facts)).max() < 4


def test_reads_whose_converter_nobody_knows_are_refused(tmp_path):
    rows = [(f"d{n}", 1e-5 + 1e-7 * n * (-1) ** read) for read in range(12) for n in range(1, 20)]
    path = write(tmp_path / "reads.csv", ("device", "siemens"), rows)
    done = CliRunner().invoke(app, ["fit", str(path), "--kind", "reads"])
    assert "--converter-sigma" in str(done.exception)


def test_reads_of_a_chip_tell_its_own_law_whatever_else_lies_in_them(bench, fit, tmp_path):
    chip, hidden = bench.chip, bench.chip.truth.parameters
    chip.measure_zero(0)
    rng = np.random.default_rng(4)
    chip.truth._die.state.units[0] = (rng.uniform(3, 140, 4096) * 1e5).astype(int)
    region = Region(0, 64, 0, 16)
    reads = np.stack([chip.read(0, region) for _ in range(40)])
    _, gains = chip.board.read_cells(0, 7, 1, region)
    lsb = np.array([chip.readout.lsb_siemens(gain) for gain in range(5)])[gains]
    sigma = lsb * np.hypot(hidden.converters.noise_lsb, 1 / np.sqrt(12))
    rows = [(f"{r}-{c}", read[r, c], sigma[r, c]) for read in reads for r in range(64) for c in range(16)]
    path = write(tmp_path / "reads.csv", ("device", "siemens", "converter_sigma"), rows)
    status, facts = fit(path, "--kind", "reads", "--series-ohms", "470")
    law = hidden.fluctuation
    assert status == 0
    assert np.abs(scores(facts, (law.slope, law.offset, law.spread))).max() < 4
    assert facts["results"][0]["valid_for"]["most_siemens"] == 50e-6


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
    done = CliRunner().invoke(app, ["fit", str(path), "--kind", "reads", "--converter-sigma", "0"])
    assert "device lonely has 3 reads" in str(done.exception)
