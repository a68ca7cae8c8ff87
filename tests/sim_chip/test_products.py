"""Products: mean, noise and cost, against per-cell sampling and plain arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_chip import EnergyCause, TimeCause, VirtualChip, preset


def test_an_ideal_product_is_the_sum_of_the_driven_cells() -> None:
    rng = np.random.default_rng(1)
    us = rng.uniform(0, 20, (3, 64, 64))
    chip = VirtualChip(preset("ideal"), conductance=us * 1e-6)
    chip.set_gain(2, 1)
    bits = rng.integers(0, 2, (50, 64))
    codes = chip.multiply(2, bits).reshape(50, 64)[:, chip.column_order(2)] & 1023
    expected = 16 + (bits @ us[2]) * 0.2e-6 * 5000 * 1023 / 3.5
    assert np.abs(codes - expected).max() <= 1.0


def readings(chip: VirtualChip, bits: np.ndarray) -> np.ndarray:
    words = chip.multiply(0, bits).reshape(len(bits), 64)[:, chip.column_order(0)]
    return (words & 1023).astype(float)


def test_repeated_products_scatter_as_repeated_sums_of_single_reads() -> None:
    """Without wires the current noise of a column is the root sum square of its cells' noise."""
    quiet = replace(preset("ideal").converters, noise_lsb=0.0)
    kind = replace(preset("good"), converters=quiet, wires=preset("ideal").wires)
    us = np.full((3, 64, 64), 20.0)
    chip = VirtualChip(kind, 3, conductance=us * 1e-6)
    chip.set_gain(0, 2)
    bits = np.zeros((4000, 64))
    bits[:, :8] = 1
    rows, cols = np.divmod(np.arange(8 * 64), 64)
    cells = chip.read_cells(0, rows, cols, reads=1000).astype(float) % 1024
    expected = np.sqrt(cells.reshape(8, 64, 1000).var(axis=2).sum(axis=0))
    healthy = (chip.planted(0)[0][:8] == 0).all(axis=0)
    ratio = readings(chip, bits).std(axis=0) / expected
    assert np.median(ratio[healthy]) == pytest.approx(1.0, abs=0.03)


def test_products_average_to_the_attenuated_sum() -> None:
    us = np.random.default_rng(0).uniform(0, 150, (3, 64, 64))
    chip = VirtualChip(preset("good"), 1, conductance=us * 1e-6)
    chip.set_gain(0, 0)
    mean = readings(chip, np.ones((400, 64))).mean(axis=0) - 14.4
    ideal = chip.conductance(0).sum(axis=0) * 0.2 * 1000 * 1023 / 3.5
    assert (mean / ideal).mean() == pytest.approx(0.625, rel=0.03)


def test_line_resistance_is_mostly_a_slope_per_column() -> None:
    """After a linear fit per column only a few percent of full scale are left."""
    rng = np.random.default_rng(4)
    us = rng.uniform(0, 100, (3, 64, 64))
    chip = VirtualChip(preset("good"), 4, conductance=us * 1e-6)
    chip.set_gain(0, 0)
    bits = rng.integers(0, 2, (400, 64))
    measured = readings(chip, bits)
    expected = bits @ chip.conductance(0)
    left = []
    for col in range(64):
        slope, offset = np.polyfit(measured[:, col], expected[:, col], 1)
        left.append(expected[:, col] - slope * measured[:, col] - offset)
    assert np.std(left) / expected.max() < 0.04


def test_columns_not_converted_answer_zero_and_cost_nothing() -> None:
    full, single = VirtualChip(preset("good"), 1), VirtualChip(preset("good"), 1)
    chosen = np.zeros(64)
    chosen[9] = 1
    bits = np.eye(64)[:5]
    words = single.multiply(0, bits, chosen).reshape(5, 64)
    place = single.column_order(0)[9]
    assert np.array_equal(words[:, place], full.multiply(0, bits).reshape(5, 64)[:, place])
    assert np.count_nonzero(np.delete(words, place, axis=1)) == 0
    adc = EnergyCause.ADC
    assert full.book.energy_aj[adc] == 64 * single.book.energy_aj[adc]
    assert single.clock_ns < full.clock_ns


def test_the_book_of_one_product() -> None:
    chip = VirtualChip(preset("ideal"), conductance=np.full((3, 64, 64), 5e-5))
    chip.set_gain(0, 0)
    chip.multiply(0, np.ones((1, 64)))
    book = chip.book
    assert book.time_ns[TimeCause.SETTLE] == 240
    assert book.time_ns[TimeCause.CONVERSION] == 16 * 320
    assert book.time_ns[TimeCause.READOUT] == 64 * 1500
    assert chip.clock_ns == book.clock_ns == 240 + 5120 + 96_000
    assert book.energy_aj[EnergyCause.ADC] == 64 * 100_000_000
    assert book.energy_aj[EnergyCause.ROWS] == 64 * 3_000_000
    # V² G t of 4096 cells of 50 µS
    assert book.energy_aj[EnergyCause.ARRAY] == pytest.approx(0.04 * 4096 * 5e-5 * 240e9, rel=0.01)
    assert (book.products, book.reads, book.set_pulses) == (1, 0, 0)


def test_the_book_of_one_pulse() -> None:
    chip = VirtualChip(preset("ideal"), conductance=np.full((3, 64, 64), 5e-5))
    chip.pulse(0, 1, 2, 1, 45875, 45875, 1000)
    assert chip.book.set_pulses == 1
    assert chip.book.time_ns[TimeCause.PULSE] == 1000
    assert chip.book.time_ns[TimeCause.PULSE_SETUP] == 50_000
    # 4 V across 50 µS and 450 Ω for 1 µs
    assert chip.book.energy_aj[EnergyCause.SET] == pytest.approx(16 * 4.89e-5 * 1e12, rel=0.01)
