"""DC sweeps of one device."""

from __future__ import annotations

import numpy as np
import pytest

from sim_chip import Direction, VirtualChip, dac_code, preset

OHMS = (1_000, 5_000, 30_000, 200_000, 1_000_000)
SERIES = 330 + 50 + 25 + 65  # read path of a corner cell


def microamps(words: np.ndarray) -> np.ndarray:
    """Currents of words, the ideal zero taken off."""
    volts = ((words & 1023).astype(float) - 16) * 3.5 / 1023
    return volts / np.array(OHMS)[words >> 10] * 1e6


def codes(volts: np.ndarray) -> list[int]:
    return [dac_code(float(volt)) for volt in volts]


def sweep(chip: VirtualChip, direction: Direction, volts: np.ndarray, gate: float) -> np.ndarray:
    return microamps(chip.sweep(0, 0, 0, direction, codes(volts), dac_code(gate), 1_000_000))


def nominal(us: float) -> VirtualChip:
    return VirtualChip(preset("ideal"), conductance=np.full((3, 64, 64), us * 1e-6))


def test_a_device_that_does_not_move_draws_an_ohmic_current() -> None:
    volts = np.linspace(0.05, 0.4, 8)
    found = sweep(nominal(100), Direction.SET, volts, 5.0)
    assert found == pytest.approx(volts * 100, rel=0.02, abs=0.2)


def test_a_set_sweep_ends_at_the_compliance_of_the_transistor() -> None:
    chip = nominal(1)
    found = sweep(chip, Direction.SET, np.arange(0.2, 2.0, 0.05), 1.1)
    saturated = 0.5 * 731 * (1.1 - 0.785) ** 2
    assert found[0] == pytest.approx(0.2, abs=0.05)
    assert found[-1] == pytest.approx(saturated, rel=0.02)
    assert chip.conductance(0)[0, 0] * 1e6 == pytest.approx(80.6, rel=0.02)


def test_a_reset_sweep_rises_and_falls_again() -> None:
    chip = nominal(100)
    found = sweep(chip, Direction.RESET, np.arange(0.1, 1.6, 0.05), 5.0)
    peak = int(np.argmax(found))
    assert 0 < peak < len(found) - 1
    assert found[-1] < found[peak] / 2
    assert chip.conductance(0)[0, 0] < 2e-5


def test_a_sweep_is_pulses_and_reads_of_one_device_in_the_book() -> None:
    chip = VirtualChip(preset("good"), 1)
    chip.sweep(0, 3, 4, 1, codes(np.linspace(0.1, 1.0, 10)), dac_code(1.1), 10_000)
    assert (chip.book.set_pulses, chip.book.reads) == (10, 10)
    assert chip.pulse_counts(0)[3, 4] == chip.pulse_counts(0).sum() == 10
    assert chip.book.times()["pulse"] == 100_000


def test_a_sweep_in_parts_is_the_whole_sweep() -> None:
    whole, parts = (VirtualChip(preset("good"), 1) for _ in range(2))
    steps = codes(np.linspace(0.1, 1.8, 30))
    gate = dac_code(1.2)
    found = [parts.sweep(0, 3, 4, 1, part, gate, 10_000) for part in (steps[:7], steps[7:])]
    assert np.array_equal(whole.sweep(0, 3, 4, 1, steps, gate, 10_000), np.concatenate(found))
    assert whole.book.energies() == parts.book.energies()


def test_sweeps_outside_the_chip_are_refused() -> None:
    chip = nominal(1)
    with pytest.raises(ValueError, match="rows are"):
        chip.sweep(0, 64, 0, 1, [40000], 40000, 1000)
    with pytest.raises(ValueError, match="1 to 65535"):
        chip.sweep(0, 0, 0, 1, [0], 40000, 1000)
    with pytest.raises(ValueError, match="20 ns"):
        chip.sweep(0, 0, 0, 1, [40000], 40000, 30)
