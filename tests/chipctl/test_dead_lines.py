"""Dead rows, columns, amplifiers and converters are named as such, once each, without a pulse."""

import numpy as np
import pytest

from chipctl.chip import PulseShape
from chipctl.converters import adc_of_columns
from chipctl.dead_lines import find_silent_lines
from chipctl.fault_map import DeadLine, LineKind
from chipctl.faults import ScanSchedule, in_doubt, scan
from chipctl.profile import FaultKind
from firmware_protocol.messages import RESET
from sim_chip.device import Kind
from sim_chip.faults import FaultPlan
from sim_chip.parameters import FaultShares

ROW = DeadLine(kind=LineKind.ROW, lines=(5,))
COL = DeadLine(kind=LineKind.COL, lines=(10,))
AMPLIFIER = DeadLine(kind=LineKind.AMPLIFIER, lines=(20,))
CONVERTER = DeadLine(kind=LineKind.CONVERTER, lines=tuple(range(1, 32, 2)))
ONE_OF_EACH = FaultPlan(
    FaultShares(on=0.1, off=0.3, middle=0.1),
    dead_rows=((0, 5),),
    dead_cols=((0, 10),),
    dead_adcs=((0, 2),),
    railed_tias=((0, 20),),
)


@pytest.mark.parametrize("kind", ["good", "raw"])
def test_each_dead_line_is_named_once_and_the_devices_beside_them_are_judged(make_chip, kind):
    chip = make_chip(kind, seed=2, faults=ONE_OF_EACH)

    faults = scan(chip, 0, on_board=True).faults

    assert sorted(faults.lines, key=str) == sorted([ROW, COL, AMPLIFIER, CONVERTER], key=str)
    dead = np.zeros((64, 64), bool)
    dead[5], dead[:, 10], dead[:, 20], dead[:, 1:32:2] = True, True, True, True
    np.testing.assert_array_equal(faults.on_dead_line, dead)
    planted = chip.truth.planted(0)[0] != Kind.HEALTHY
    np.testing.assert_array_equal(faults.stuck & ~dead, planted & ~dead)
    counted = faults.counts()
    assert counted["dead_lines"] == 4
    assert sum(counted[f"stuck_{kind}"] for kind in ("low", "high", "between")) == (planted & ~dead).sum()


def test_columns_that_cannot_be_read_get_no_pulse(make_chip):
    chip = make_chip("good", seed=2, faults=ONE_OF_EACH)
    unreadable = [10, 20, *range(1, 32, 2)]
    assert not in_doubt(chip, 0, ScanSchedule())[0][:, unreadable].any()
    assert (scan(chip, 0).pulse_counts[:, unreadable] == 0).all()


def test_to_look_for_dead_lines_moves_nothing(make_chip):
    chip = make_chip("good", seed=2, faults=ONE_OF_EACH)
    before = chip.truth.conductance_units(0)
    assert len(find_silent_lines(chip, 0).cols) == 3
    np.testing.assert_array_equal(chip.truth.conductance_units(0), before)
    assert chip.board.state().total_pulses == 0


@pytest.mark.parametrize("kind", ["good", "raw", "ideal"])
def test_an_array_at_its_lowest_has_no_dead_lines(make_chip, kind):
    chip = make_chip(kind, seed=2, faults=FaultPlan(FaultShares()))
    for _ in range(6):
        chip.pulse(0, PulseShape(RESET, 2.2, 5.0, 1e-6))
    assert scan(chip, 0).faults.lines == ()


def test_a_row_whose_devices_are_all_stuck_above_zero_is_no_dead_row(make_chip):
    kinds, siemens = np.zeros((3, 64, 64), np.uint8), np.full((3, 64, 64), np.nan)
    kinds[0, 9], siemens[0, 9] = Kind.STUCK_OFF, 0.5e-6
    chip = make_chip("good", seed=2, faults=FaultPlan(kinds=kinds, stuck_siemens=siemens))
    faults = scan(chip, 0).faults
    assert faults.lines == ()
    assert (faults.kinds[9] == FaultKind.STUCK_LOW).all()


def test_the_columns_of_a_converter_are_those_that_the_chip_wires_to_it(make_chip):
    for adc in range(4):
        chip = make_chip("good", seed=2, faults=FaultPlan(dead_adcs=((1, adc),)))
        (found,) = find_silent_lines(chip, 1).cols
        assert found.lines == tuple(np.flatnonzero(adc_of_columns(64) == adc))
