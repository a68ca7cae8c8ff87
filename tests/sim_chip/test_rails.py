"""Rails, supply, sampling time and the ADCs' test input."""

from __future__ import annotations

import numpy as np
import pytest

from sim_chip import Direction, Rail, VirtualChip, dac_code, preset
from sim_chip.converters import fifo_owner, fifos

ZERO = 16  # code of no current


def cell(us: float, kind: str = "ideal") -> VirtualChip:
    chip = VirtualChip(preset(kind), conductance=np.full((3, 64, 64), us * 1e-6))
    chip.set_gain(0, 2)
    return chip


def read(chip: VirtualChip) -> int:
    return int(chip.read_cells(0, 0, 0)[0, 0] & 1023)


def after_pulse(supply_uv: int, volts: float) -> float:
    chip = cell(100)
    chip.set_supply(supply_uv)
    chip.pulse(0, 0, 0, Direction.RESET, dac_code(volts), dac_code(5.0), 1000)
    return float(chip.conductance(0)[0, 0] * 1e6)


def test_a_supply_within_its_range_changes_nothing() -> None:
    codes, ends = set(), set()
    for supply in (4_500_000, 5_000_000, 5_500_000):
        chip = cell(50)
        chip.set_supply(supply)
        codes.add(read(chip))
        ends.add(after_pulse(supply, 1.4))
    assert len(codes) == len(ends) == 1


def test_pulses_of_a_browned_out_chip_sag() -> None:
    assert after_pulse(3_600_000, 1.5) == pytest.approx(after_pulse(5_000_000, 1.5 * 0.8), rel=0.01)
    assert after_pulse(2_000_000, 3.0) == pytest.approx(100.0)


def test_codes_of_a_browned_out_chip_are_too_high() -> None:
    chip = cell(50)
    nominal = read(chip)
    chip.set_supply(3_600_000)
    assert read(chip) == pytest.approx(nominal * 4.5 / 3.6, abs=2)
    chip.set_supply(6_000_000)
    assert read(chip) == pytest.approx(nominal * 5.5 / 6.0, abs=2)
    chip.set_supply(2_000_000)
    assert read(chip) == 0


def test_a_tia_saturates_below_a_low_supply() -> None:
    chip = cell(500)
    chip.set_rail(Rail.PLANE_VPP, dac_code(0.25))
    assert read(chip) == 1023
    chip.set_supply(3_000_000)
    ceiling = (3.0 - 0.2 - 0.5) / 3.5 * 1023 * 4.5 / 3.0
    assert read(chip) == pytest.approx(ceiling, abs=2)


@pytest.mark.parametrize(("volts", "code"), [(0.1, 0), (1.7, 1023)])
def test_a_tia_reference_out_of_range_leaves_no_reading(volts: float, code: int) -> None:
    chip = cell(50)
    chip.set_rail(Rail.VREF_TIA, dac_code(volts))
    assert read(chip) == code


@pytest.mark.parametrize("volts", [1.0, 4.0])
def test_a_sample_and_hold_without_its_bias_loses_signal(volts: float) -> None:
    chip = cell(50)
    nominal = read(chip)
    chip.set_rail(Rail.VREF_SH, dac_code(volts))
    assert read(chip) == pytest.approx(nominal / 2, abs=2)


def test_pulses_are_clamped_above_the_supply() -> None:
    assert after_pulse(5_000_000, 9.0) == after_pulse(5_000_000, 6.0)


def test_a_supply_that_destroys_is_refused() -> None:
    with pytest.raises(ValueError, match="destroys"):
        cell(1).set_supply(7_000_000)


def test_a_sample_taken_early_is_too_small_and_saves_time() -> None:
    chip = cell(50)
    full = read(chip)
    slow = chip.clock_ns
    chip.set_sample_ns(2, 60)
    before = chip.clock_ns
    early = read(chip)
    assert chip.clock_ns - before == slow - 180
    # a quarter of 7.6 time constants
    assert early - ZERO == pytest.approx((full - ZERO) * (1 - np.exp(-7.6 / 4)), abs=1)


def test_sampling_later_than_needed_changes_no_word() -> None:
    chip, late = cell(50, "good"), cell(50, "good")
    late.set_sample_ns(2, 10_000)
    rows = np.arange(64)
    assert np.array_equal(chip.read_cells(0, rows, 5), late.read_cells(0, rows, 5))
    assert late.clock_ns > chip.clock_ns


@pytest.mark.parametrize("duration_ns", [0, 30, 2_000_000])
def test_a_sample_time_off_the_timer_s_grid_is_refused(duration_ns: int) -> None:
    with pytest.raises(ValueError, match="20 ns"):
        cell(1).set_sample_ns(0, duration_ns)


def test_every_adc_converts_the_test_input() -> None:
    chip = cell(0)
    chip.set_rail(Rail.ADC_TEST, dac_code(2.25))
    codes = [chip.convert_test_input(fifo)[0] for fifo in range(12)]
    assert codes == pytest.approx([1.75 / 3.5 * 1023] * 12, abs=1)
    with pytest.raises(ValueError, match="no ADC 12"):
        chip.convert_test_input(12)


def test_an_adc_belongs_to_the_array_it_serves() -> None:
    for array in range(6):
        assert [fifo_owner(fifo) for fifo in fifos(array)] == [(array, place) for place in range(4)]


def test_the_test_input_shows_an_adc_s_noise_and_nothing_of_the_columns() -> None:
    chip = VirtualChip(preset("good"), 3)
    chip.set_rail(Rail.ADC_TEST, dac_code(2.25))
    words = chip.convert_test_input(5, 4000).astype(float)
    assert words.std() == pytest.approx(np.sqrt(0.7**2 + 1 / 12), rel=0.05)
    assert words.mean() == pytest.approx(511.5, abs=3)
    assert chip.book.reads == 0


def test_conversions_of_the_test_input_do_not_depend_on_batches() -> None:
    together, apart = (VirtualChip(preset("good"), 3) for _ in range(2))
    for chip in (together, apart):
        chip.set_rail(Rail.ADC_TEST, dac_code(1.7))
    parts = [apart.convert_test_input(7, number) for number in (1, 4, 15)]
    assert np.array_equal(together.convert_test_input(7, 20), np.concatenate(parts))
    assert together.clock_ns == apart.clock_ns
