"""Wires and access transistors are found by what they do to reads and products; products are made good."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.products import full_scale, pair_outputs
from calibration.wires import Lines, cells_alone, column_currents
from chipctl.board import Region
from chipctl.chip import PulseShape
from firmware_protocol.messages import RESET
from sim_chip.parameters import WireParameters
from sim_chip.presets import preset

HIDDEN = WireParameters(segment_ohms=0.6, driver_ohms=80.0, tia_ohms=40.0, transistor_ohms=450.0)
OTHER = replace(preset("good"), wires=HIDDEN)
HALF = PulseShape(RESET, 1.2, 5.0, 1e-6)


def signs(bench, count):
    return bench.rng.choice([-0.2, 0.2], (count, 64))


def test_one_device_alone_sees_the_resistors_of_its_path():
    lines = Lines(segment=1.0, driver=50.0, tia=25.0)
    read = np.zeros((64, 64))
    read[3, 5] = 100e-6
    one_row = np.zeros((1, 64))
    one_row[0, 3] = 1.0
    cell = cells_alone(read, lines)
    assert 1 / cell[3, 5] == pytest.approx(1e4 - (50 + 25 + 6 + 61))
    assert column_currents(cell, one_row, lines)[0, 5] == pytest.approx(100e-6, rel=1e-5)


def test_superposition_holds_as_the_network_is_linear(pairs_map):
    lines = Lines(1.0, 50.0, 25.0)
    each = column_currents(pairs_map, np.eye(64), lines)
    together = column_currents(pairs_map, np.ones((1, 64)), lines)
    assert together[0] == pytest.approx(each.sum(axis=0), rel=1e-4)


def test_wires_and_transistors_are_covered_by_their_uncertainty(make_bench, calibrated, pairs_map):
    pulls = []
    for seed in range(2):
        bench = make_bench(OTHER, seed, conductance=pairs_map)
        found = calibrated(bench, "adcs", "zeros", "lines")
        transistor = calibrated(bench, "transistor")
        truth = {"segment_ohms": 0.6, "driver_ohms": 80.0, "tia_ohms": 40.0}
        pulls += [(float(found.value(n)) - put) / float(found.sigma(n)) for n, put in truth.items()]
        pulls.append((float(transistor.value("ohms")) - 450.0) / float(transistor.sigma("ohms")))
        assert float(found.sigma("driver_ohms")) < 1.5
        assert float(transistor.sigma("ohms")) < 5.0
    assert np.sqrt(np.mean(np.square(pulls))) < 1.4
    assert np.abs(pulls).max() < 3.5


def test_reading_at_low_gates_leaves_devices_and_gates_as_they_were(make_bench, calibrated, pairs_map):
    bench = make_bench(conductance=pairs_map)
    before = bench.chip.board.planted(0)[1]
    calibrated(bench, "adcs", "zeros", "transistor")
    assert (bench.chip.board.planted(0)[1] == before).all()
    assert bench.chip.rails()[6].set_volts == pytest.approx(5.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_products_agree_with_single_reads_once_calibrated(make_bench, calibrated, pairs_map, seed):
    bench = make_bench(seed=seed, conductance=pairs_map)
    chip, vectors = bench.chip, signs(bench, 200)

    def errors():
        read = chip.read(0, reads=100)
        scale = full_scale(read, 0.2, np.random.default_rng(0))
        wanted = pair_outputs(vectors @ read)
        return [
            np.std(pair_outputs(chip.multiply(0, vectors, reads=reads)) - wanted) / scale for reads in (1, 16)
        ]

    before = errors()
    calibrated(bench, "adcs", "zeros", "tias", "products")
    one, sixteen = errors()
    assert min(before) > 0.02
    assert one <= 0.015
    assert sixteen <= 0.008


def test_a_pulse_puts_the_line_of_products_out_of_use(make_bench, calibrated, pairs_map):
    bench = make_bench(conductance=pairs_map)
    chip, vectors = bench.chip, signs(bench, 20)
    calibrated(bench, "adcs", "zeros", "products")
    slope = chip.profile.result("products", 0).value("slope")
    good = chip.multiply(0, vectors, reads=64)
    chip.pulse(0, HALF, Region(0, 1, 0, 1))
    bare = chip.multiply(0, vectors, reads=64)
    assert np.mean(slope) < 0.93
    assert np.median(np.abs(bare / slope - good)) < 0.02 * np.abs(good).max()
    assert np.mean(np.abs(bare)) < 0.93 * np.mean(np.abs(good))


def test_inputs_of_many_bits_come_out_alike_through_calibrated_converters(make_bench, calibrated):
    # An ideal chip has no noise: sums made on the board and on the host must agree to the last digit.
    rows = np.random.default_rng(2).integers(-127, 128, (5, 64)) / 127 * 0.2
    level = np.random.default_rng(3).uniform(0, 20e-6, (64, 64))
    bench = make_bench("ideal", conductance=level)
    chip = bench.chip
    zero = np.tile(chip.zero_codes(0), (5, 1))
    plain = chip.multiply(0, rows, input_bits=7)
    calibrated(bench, "zeros", "tias")
    chip.profile.result("tias", 0).values["ohms_ratio"].value.setflags(write=True)
    chip.profile.result("tias", 0).values["ohms_ratio"].value[:] = 1.0
    assert chip.columns(0).is_calibrated
    assert (chip.columns(0).zero_codes == zero).all()
    assert chip.multiply(0, rows, input_bits=7) == pytest.approx(plain, rel=1e-12, abs=1e-15)
