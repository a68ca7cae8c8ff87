"""What is measured of converters is what the virtual chip has, within its uncertainty; and it is used."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.procedures import PROCEDURES
from sim_chip import random
from sim_chip.converters import _inl
from sim_chip.parameters import ConverterParameters, Spread
from sim_chip.presets import preset
from sim_chip.random import Purpose

SEEDS = range(3)


def hidden_excess(chip, ideal_codes, seed):
    """Of the four ADCs of array 0: what the model adds to each position, (4, knots)."""
    key = random.stream(seed, Purpose.CONVERTER, 0)
    drawn = random.normals(random.words(key, np.arange(4)))
    return np.stack([_inl(chip.truth.parameters.converters, ideal_codes, normals) for normals in drawn])


def rms(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def test_the_adcs_curves_are_covered_by_their_uncertainty(make_bench, calibrated):
    pulls = []
    for seed in SEEDS:
        bench = make_bench(
            replace(preset("good"), converters=ConverterParameters(gain_error=0.01, inl_lsb=3.0)), seed
        )
        found = PROCEDURES["adcs"].measure(bench)
        left = found.codes - found.ideal_codes - hidden_excess(bench.chip, found.ideal_codes, seed)
        # The upper reference lies up to a DAC step below 4 V, which shifts all codes alike.
        pulls.append((left - np.nanmean(left)) / found.sigma_codes)
        assert np.abs(np.nanmean(left)) < bench.chip.dac.lsb_volts / 3.5 * 1023
    assert rms(pulls) == pytest.approx(1.0, abs=0.15)


def test_the_zeros_are_covered_by_their_uncertainty(make_bench, calibrated):
    pulls = []
    for seed in SEEDS:
        result = calibrated(make_bench(seed=seed), "zeros")
        finer = make_bench(seed=seed).chip.measure_zero(0, reads=64)
        gap = result.value("zero_codes") - finer
        pulls.append(gap / np.hypot(result.sigma("zero_codes"), 0.77 / 8))
    assert rms(pulls) == pytest.approx(1.0, abs=0.15)


def test_resistors_that_are_not_nominal_are_found(make_bench, calibrated, pairs_map):
    hidden = (1_040, 4_850, 30_000, 206_000, 980_000)
    chip_kind = replace(preset("good"), converters=ConverterParameters(gain_ohms=hidden))
    pulls, sigmas = [], []
    for seed in SEEDS:
        bench = make_bench(chip_kind, seed, conductance=pairs_map)
        nominal = (1e3, 5e3, 30e3, 200e3, 1e6)
        bench.chip.readout = replace(bench.chip.readout, gain_ohms=nominal)
        result = calibrated(bench, "adcs", "zeros", "tias")
        truth = (np.array(hidden) / nominal)[:, None]
        pulls.append((result.value("ohms_ratio") - truth) / np.maximum(result.sigma("ohms_ratio"), 1e-9))
        sigmas.append(np.nanmedian(result.sigma("ohms_ratio"), axis=1))
    assert 0.5 < rms(pulls) * np.sqrt(5 / 4) < 1.25
    assert np.max(sigmas) < 0.006


def test_reads_are_straight_once_the_adcs_are_known(make_bench, calibrated):
    # Devices of known conductance at codes all over the scale of 30 kΩ, many reads each.
    levels = np.repeat(np.linspace(5e-6, 150e-6, 64)[:, None], 64, axis=1)
    kind = replace(preset("ideal"), converters=ConverterParameters(offset_lsb=Spread(-1.6, 1.5)))
    bench = make_bench(kind, 3, conductance=levels)
    errors = []
    for steps in ((), ("zeros",), ("adcs", "zeros")):
        calibrated(bench, *steps) if steps else None
        errors.append(rms(bench.chip.read(0, reads=64, gain=2) - levels))
    lsb = bench.chip.readout.lsb_siemens(2)
    assert errors[0] > 1.5 * lsb
    assert errors[1] > 0.8 * lsb
    assert errors[2] < 0.2 * lsb


def test_the_rails_offset_is_read_back(make_bench, calibrated):
    kind = replace(preset("good"), converters=ConverterParameters(rail_offset_uv=78_000))
    result = calibrated(make_bench(kind), "rails")
    assert result.value("offset_volts") == pytest.approx(0.078, abs=3 * result.sigma("offset_volts")[0])
    assert float(result.value("read_volts")) == pytest.approx(0.2, abs=3.5e-4)


def test_converters_with_flat_stretches_fail_and_are_not_used(make_bench, calibrated):
    bench = make_bench("raw", 2)
    assert not calibrated(bench, "adcs").passed
    assert not bench.chip.columns(0).is_calibrated


def test_columns_turn_codes_into_currents_and_back(make_bench, calibrated):
    bench = make_bench(seed=1)
    calibrated(bench, "adcs", "zeros")
    columns = bench.chip.columns(0)
    amps = np.linspace(0, 100e-6, 50)[:, None] * np.ones(64)
    assert columns.amps(columns.codes(amps, 2), 2) == pytest.approx(
        amps, abs=1e-6 * columns.readout.lsb_amps(2)
    )


def test_converters_without_noise_are_as_uncertain_as_their_steps(make_bench, calibrated):
    bench = make_bench("ideal")
    found = PROCEDURES["adcs"].measure(bench)
    assert found.sigma_codes == pytest.approx(1 / np.sqrt(12), rel=0.01)
    assert rms((found.codes - found.ideal_codes) / found.sigma_codes) == pytest.approx(1.0, abs=0.3)
