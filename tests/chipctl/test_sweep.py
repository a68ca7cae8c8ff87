"""A staircase on one device in SI, and the chip's book of time and energy."""

import numpy as np
import pytest

from firmware_protocol.messages import RESET, SET


def test_below_switching_the_current_is_ohms_law(make_chip):
    chip = make_chip(conductance=100e-6)
    volts = np.linspace(0, 0.2, 11)
    assert chip.sweep(0, 3, 4, SET, volts, 5.0, 1e-6) == pytest.approx(volts * 100e-6, abs=0.2e-6)
    assert chip.truth.conductance(0)[3, 4] == pytest.approx(100e-6)


def test_the_gate_limits_a_set_and_reset_turns_the_device_off(make_chip):
    chip = make_chip(conductance=1e-6)
    low = chip.sweep(0, 0, 0, SET, [2.0] * 20, 1.0, 1e-3)[-1]
    on = chip.truth.conductance(0)[0, 0]
    high = chip.sweep(0, 0, 1, SET, [2.0] * 20, 1.2, 1e-3)[-1]
    chip.sweep(0, 0, 0, RESET, np.linspace(0, 1.6, 33), 5.0, 1e-3)
    assert on == pytest.approx(37.5e-6, rel=0.05)  # nominal compliance at a gate of 1.0 V
    assert high > 2 * low
    assert chip.truth.conductance(0)[0, 0] < 0.05 * on


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((3, 0, 0, SET, [1.0], 1.0, 1e-6), "no array 3"),
        ((0, 64, 0, SET, [1.0], 1.0, 1e-6), "not inside"),
        ((0, 0, 0, SET, [9.0], 1.0, 1e-6), "above this board's limit"),
        ((0, 0, 0, SET, [-1.0], 1.0, 1e-6), "positive"),
        ((0, 0, 0, SET, [1.0], 9.0, 1e-6), "above this board's limit"),
        ((0, 0, 0, SET, [], 1.0, 1e-6), "1 to"),
        ((0, 0, 0, SET, [[1.0]], 1.0, 1e-6), "1 to"),
        ((0, 0, 0, SET, [1.0], 1.0, 1.0), "pulse width"),
        ((0, 0, 0, SET, [np.nan], 1.0, 1e-6), "V"),
    ],
)
def test_what_the_board_would_refuse_is_never_sent(make_chip, words, match):
    chip = make_chip(conductance=50e-6)
    before = chip.board.state().total_pulses
    with pytest.raises(ValueError, match=match):
        chip.sweep(*words)
    assert chip.board.state().total_pulses == before


def test_the_book_tells_time_and_energy_by_cause(make_chip):
    chip = make_chip(conductance=100e-6)
    start = chip.book()
    chip.wait(100.0)
    rested = chip.book()
    chip.read(0)
    read = chip.book()
    chip.sweep(0, 0, 0, SET, [2.0], 1.2, 1e-6)
    swept = chip.book()
    assert rested.seconds - start.seconds == pytest.approx(100.0)
    assert rested.chip_joules == start.chip_joules
    assert sum(rested.spent.values()) == pytest.approx(rested.seconds)
    assert read.reads - rested.reads == 4096
    assert read.joules["ADC"] - rested.joules["ADC"] == pytest.approx(4096 * 100e-12)
    assert swept.joules["SET pulses"] > read.joules["SET pulses"]
    assert swept.joules["RESET pulses"] == read.joules["RESET pulses"]
    assert swept.chip_joules == pytest.approx(sum(swept.joules.values()))
