"""Codes and words: goldens of the board's DAC, the ADC's code table, the FIFO map."""

from __future__ import annotations

import numpy as np
import pytest

from sim_chip import (
    AUTO_GAIN,
    FaultPlan,
    Rail,
    VirtualChip,
    column_order,
    dac_code,
    fifo_address,
    preset,
)
from sim_chip.converters import dac_microvolts


def cell(us: float) -> VirtualChip:
    return VirtualChip(preset("ideal"), conductance=np.full((3, 64, 64), us * 1e-6))


@pytest.mark.parametrize(
    ("volts", "code"),
    [
        (-10.0, 0),
        (0.0, 32767),
        (0.2, 33422),
        (0.3, 33750),
        (0.5, 34405),
        (1.0, 36044),
        (1.5, 37682),
        (2.5, 40959),
        (5.0, 49151),
    ],
)
def test_board_dac(volts: float, code: int) -> None:
    assert dac_code(volts) == code
    assert dac_microvolts(code) == pytest.approx(volts * 1e6, abs=306)


@pytest.mark.parametrize(
    ("gain", "codes"),
    [
        (0, (0, 0, 1, 3, 6, 9, 29)),
        (1, (0, 1, 3, 15, 29, 44, 146)),
        (2, (2, 9, 18, 88, 175, 263, 877)),
        (3, (12, 58, 117, 585, 1007, 1007, 1007)),
        (4, (58, 292, 585, 1007, 1007, 1007, 1007)),
    ],
)
def test_code_table_of_an_ideal_chip(gain: int, codes: tuple[int, ...]) -> None:
    for us, code in zip((1, 5, 10, 50, 100, 150, 500), codes, strict=True):
        chip = cell(us)
        chip.set_gain(0, gain)
        word = int(chip.read_cells(0, 3, 7)[0, 0])
        assert word >> 10 == gain
        assert (word & 1023) - 16 == pytest.approx(code, abs=1)


def test_automatic_gain_takes_the_highest_that_fits() -> None:
    for us, gain in ((1, 4), (10, 4), (50, 3), (100, 2), (500, 2)):
        chip = cell(us)
        chip.set_gain(0, AUTO_GAIN)
        assert int(chip.read_cells(0, 0, 0)[0, 0]) >> 10 == gain
        assert int(chip.multiply(0, np.eye(64)[0])[0, 2, 3]) >> 10 == gain


def test_columns_come_in_the_chip_s_own_order() -> None:
    assert fifo_address(0, 0) == (4, 7)
    assert fifo_address(0, 1) == (10, 7)
    assert fifo_address(2, 33) == (7, 8)
    for array in range(6):
        assert sorted(column_order(array)) == list(range(64))
    conductance = np.zeros((3, 64, 64))
    conductance[:, 0, :] = np.arange(64) * 1e-7
    chip = VirtualChip(preset("ideal"), conductance=conductance)
    chip.set_gain(1, 4)
    words = chip.multiply(1, np.eye(64)[:1])
    codes = words.reshape(1, 64)[0, column_order(1)] & 1023
    assert np.all(np.diff(codes.astype(int)) >= 5)


def test_read_voltage_is_the_difference_of_two_rails() -> None:
    chip = cell(50)
    chip.set_gain(0, 2)
    full = int(chip.read_cells(0, 0, 0)[0, 0] & 1023) - 16
    chip.set_rail(Rail.PLANE_VPP, dac_code(0.4))
    half = int(chip.read_cells(0, 0, 0)[0, 0] & 1023) - 16
    assert half == pytest.approx(full / 2, abs=1)


def test_raising_the_comparator_rail_shifts_the_conversion_window() -> None:
    chip = cell(0)
    chip.set_rail(Rail.VREF_HI_CMP, dac_code(5.0))
    assert int(chip.read_cells(0, 0, 0)[0, 0] & 1023) == pytest.approx(16 + 1023 / 3.5, abs=1)


def test_a_chip_powered_down_answers_zero_and_does_not_move() -> None:
    chip = cell(100)
    chip.power_down()
    assert np.all(chip.multiply(0, np.ones((1, 64))) & 1023 == 0)


def test_a_gate_rail_at_zero_opens_every_cell() -> None:
    chip = VirtualChip(preset("good"), 1, conductance=np.full((3, 64, 64), 1e-4))
    chip.set_gain(0, 2)
    chip.set_rail(Rail.TVDD, dac_code(0.0))
    assert np.all(chip.read_cells(0, np.arange(64), 0) & 1023 < 30)
    assert np.all(chip.multiply(0, np.ones((1, 64))) & 1023 < 30)


def test_a_weak_gate_rail_lowers_the_reading() -> None:
    chip = VirtualChip(preset("good"), 1, conductance=np.full((3, 64, 64), 1e-4))
    chip.set_gain(0, 2)
    full = chip.read_cells(0, np.arange(64), 0).mean()
    chip.set_rail(Rail.TVDD, dac_code(1.2))
    assert chip.read_cells(0, np.arange(64), 0).mean() < full - 20


def test_dead_lines_and_converters() -> None:
    plan = FaultPlan(dead_rows=((0, 5),), dead_cols=((0, 9),), dead_adcs=((0, 1),), railed_tias=((0, 2),))
    conductance = np.full((3, 64, 64), 5e-5)
    chip = VirtualChip(preset("ideal"), faults=plan, conductance=conductance)
    chip.set_gain(0, 0)
    codes = chip.multiply(0, np.ones((1, 64)))[0] & 1023
    in_order = codes.reshape(64)[column_order(0)]
    assert np.all(codes[1] == 0)
    assert in_order[9] == 16
    assert in_order[2] == 1023
    assert in_order[0] == pytest.approx(16 + 63 * 1e-5 * 1000 * 1023 / 3.5, abs=1)
    chip.set_gain(0, 2)
    assert chip.read_cells(0, [5, 6], [0, 9]).ravel().tolist() == [16 | 2048, 16 | 2048]


def test_requests_outside_the_chip_are_refused() -> None:
    chip = cell(1)
    with pytest.raises(ValueError, match="array"):
        chip.multiply(3, np.ones((1, 64)))
    with pytest.raises(ValueError, match="rows are"):
        chip.read_cells(0, 64, 0)
    with pytest.raises(ValueError, match="twice"):
        chip.read_cells(0, [1, 1], [2, 2])
    with pytest.raises(ValueError, match="20 ns"):
        chip.pulse(0, 0, 0, 1, 40000, 40000, 30)
    with pytest.raises(ValueError, match="preset"):
        preset("excellent")
