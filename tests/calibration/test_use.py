"""A chip outside its limits is one thing, a doubtful measurement another; and what is done with either."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.calibrate import Freshness, Order, calibrate, freshness, tasks_of
from calibration.procedures import PROCEDURES, in_order
from chipctl.chip import PulseShape
from chipctl.cli.main import app
from chipctl.profile import ChipProfile
from chipctl.results import CalibrationResult, Quantity
from firmware_protocol.messages import RESET
from firmware_protocol.rails import Rail
from sim_chip.converters import dac_code, dac_microvolts
from sim_chip.parameters import ConverterParameters, Spread
from sim_chip.presets import preset

PULSE = PulseShape(RESET, 1.2, 5.0, 1e-6)


@pytest.fixture
def uniform_map():
    """Dense: products take several times the current of a differential map."""
    return np.random.default_rng(1).uniform(0, 150e-6, (64, 64))


def carried_out(bench, *names):
    """The results of these procedures and what they build on, by name."""
    done = calibrate(bench.chip, Order(tasks_of(in_order(list(names)), [0]), quick=True))
    return {item.task.procedure.name: item for item in done}


def product_error(chip, seed=3):
    """σ of column currents off single reads, over that of the currents themselves."""
    vectors = np.random.default_rng(seed).choice([-0.2, 0.2], (50, 64))
    wanted = vectors @ chip.read(0, reads=64)
    return float(np.std(chip.multiply(0, vectors, reads=16) - wanted) / np.std(wanted))


def test_a_chip_outside_its_limits_is_told_from_a_doubtful_measurement():
    number = Quantity.of(2.0, 0.1, "1")
    chip_failed = CalibrationResult.judged("x", {"a": number.asked(0, 1)})
    doubted = CalibrationResult.judged("x", {"a": number.within(0, 1)})
    assert [(r.passed, r.usable) for r in (chip_failed, doubted)] == [(False, True), (False, False)]
    both = CalibrationResult.judged("x", {"a": number.asked(0, 1)}, reasons=["nothing came back"])
    assert (len(both.reasons), both.doubts) == (2, ["nothing came back"])
    assert CalibrationResult.model_validate_json(chip_failed.model_dump_json()).usable


def test_what_failed_in_an_old_file_is_not_used():
    failed = CalibrationResult.judged("x", {"a": Quantity.of(2.0, 0.1, "1").asked(0, 1)})
    old = failed.model_dump(mode="json")
    del old["doubts"]
    assert not CalibrationResult.model_validate(old).usable


def test_bent_converters_fail_the_chip_and_are_made_good(make_bench):
    levels = np.repeat(np.linspace(5e-6, 150e-6, 64)[:, None], 64, axis=1)
    bent = ConverterParameters(offset_lsb=Spread(-1.6, 1.5), inl_lsb=6.0)
    bench = make_bench(replace(preset("ideal"), converters=bent), 3, conductance=levels)
    lsb = bench.chip.readout.lsb_siemens(2)
    before = float(np.std(bench.chip.read(0, reads=64, gain=2) - levels))
    done = carried_out(bench, "tias")
    adcs = done["adcs"].result
    assert (adcs.passed, adcs.usable) == (False, True)
    assert any(reason.startswith("inl_codes") for reason in adcs.reasons)
    assert done["tias"].result is not None
    assert before > 2 * lsb
    assert float(np.std(bench.chip.read(0, reads=64, gain=2) - levels)) < 0.3 * lsb


def test_flat_stretches_between_knots_make_the_curve_doubtful(make_bench):
    done = carried_out(make_bench("raw", 3), "adcs")
    assert any(doubt.startswith("between_codes") for doubt in done["adcs"].result.doubts)


def test_products_are_made_good_on_converters_that_cannot_be(make_bench, uniform_map):
    bench = make_bench("raw", 9, conductance=uniform_map)
    bench.chip.measure_zero(0)
    before = product_error(bench.chip)
    assert carried_out(bench, "products")["products"].result.usable
    assert product_error(bench.chip) < 0.5 * before


def test_a_line_that_misses_what_is_asked_of_the_chip_is_used(make_bench, uniform_map):
    bench = make_bench("good", 5, conductance=uniform_map)
    before = product_error(bench.chip)
    result = carried_out(bench, "products")["products"].result
    assert (result.passed, result.usable) == (False, True)
    assert product_error(bench.chip) < 0.25 * before
    (task,) = tasks_of([PROCEDURES["products"]], [0])
    assert freshness(task, bench.chip.profile, bench.chip.keeps_map) is Freshness.FRESH


def test_a_line_that_adds_error_is_in_doubt(make_bench, pairs_map):
    found = PROCEDURES["products"].measure(make_bench(conductance=pairs_map))
    worse = replace(found.errors, many=found.errors.raw + 0.5 * (found.errors.raw - found.errors.expected))
    result = CalibrationResult.judged("products", replace(found, errors=worse).values)
    assert any(doubt.startswith("error_left") for doubt in result.doubts)


def test_only_pulses_of_the_array_itself_end_its_line(make_bench, calibrated, pairs_map):
    chip = (bench := make_bench(conductance=pairs_map)).chip
    calibrated(bench, "products")
    chip.pulse(1, PULSE, count=3)
    assert chip.product_line(0) is not None
    chip.pulse(0, PULSE)
    assert chip.product_line(0) is None


def test_what_the_board_has_forgotten_ends_a_line(make_bench, calibrated, pairs_map):
    chip = (bench := make_bench(conductance=pairs_map)).chip
    calibrated(bench, "products")
    region = chip.whole.__class__(0, 1, 0, 1)
    for _ in range(100):
        chip.pulse(1, PULSE, region)
    assert chip.product_line(0) is None


def test_multiply_says_where_the_wires_are_not_made_good(tmp_path):
    profile = ChipProfile.nominal("good-5", 3, 64, 64)
    line = {
        "slope": Quantity.of(np.ones(64), 0.01, "1", "col"),
        "offset_amps": Quantity.of(np.zeros(64), 0, "A", "col"),
    }
    told = {}
    for counted in (0, 7):  # a fresh chip has had no pulse: the board that counted seven is not this one
        profile.keep(CalibrationResult.judged("products", line, valid_for={"total_pulses": counted}), 0)
        profile.save(tmp_path / "chip.json")
        words = ["--chip", "sim://?preset=good&seed=5", "--profile", str(tmp_path / "chip.json"), "--json"]
        done = CliRunner().invoke(app, ["multiply", *words])
        assert done.exit_code == 0
        told[counted] = "wires is not made good" in done.stderr
    assert told == {0: False, 7: True}


def test_an_array_whose_rows_are_not_driven_shows_no_device_noise(make_bench, calibrated, uniform_map):
    for kind in ("mao22", "good"):
        parameters = replace(preset(kind), arrays=3)
        result = calibrated(make_bench(parameters, 5, conductance=uniform_map), "zeros")
        noise = result.value("noise_codes")
        assert np.sqrt(np.mean(noise**2, axis=1)) == pytest.approx(np.sqrt(0.7**2 + 1 / 12), rel=0.03)
        assert result.passed


def test_the_read_voltage_is_taken_as_measured(make_bench, calibrated):
    bench = make_bench("ideal", conductance=np.full((64, 64), 100e-6))
    chip, vector = bench.chip, np.full(64, 0.2)
    high, low = (dac_microvolts(dac_code(volts)) * 1e-6 for volts in (0.5, 0.3))
    before = chip.read(0, reads=16), chip.multiply(0, vector, reads=16)
    calibrated(bench, "rails")
    assert chip.columns(0).read_ratio == pytest.approx((high - low) / 0.2, abs=1e-6)
    assert chip.columns(0).read_ratio != 1.0
    after = chip.read(0, reads=16), chip.multiply(0, vector, reads=16)
    for was, now in zip(before, after, strict=True):
        assert now == pytest.approx(was / chip.columns(0).read_ratio, rel=1e-9)
    codes = chip.columns(0).codes(after[0] * 0.2, 2)
    assert chip.columns(0).siemens(codes, 2) == pytest.approx(after[0])


def test_the_picture_of_rails_shows_their_uncertainty(make_bench):
    picture = str(PROCEDURES["rails"].measure(make_bench("ideal")).draw())
    assert all(word in picture for word in ("one step of the DAC", Rail.VREF_TIA.name.lower()))
    assert picture.count("LineCollection") >= 1


def test_a_profile_keeps_what_is_told_apart(tmp_path):
    profile = ChipProfile.nominal("x", 1, 64, 64)
    profile.keep(CalibrationResult.judged("x", {"a": Quantity.of(2.0, 0.1, "1").asked(0, 1)}), 0)
    profile.save(tmp_path / "chip.json")
    kept = ChipProfile.load(tmp_path / "chip.json").result("x", 0)
    assert (kept.passed, kept.usable) == (False, True)
