"""Planted faults: shares by preset, exact maps, noisy and slow devices."""

from __future__ import annotations

import numpy as np
import pytest

from sim_chip import FaultPlan, FaultShares, Kind, VirtualChip, dac_code, preset

ROWS, COLS = np.divmod(np.arange(4096), 64)


@pytest.mark.parametrize(
    ("kind", "on", "off", "middle"),
    [("good", 0.003, 0.003, 0.002), ("poor", 0.047, 0.068, 0.01), ("ideal", 0.0, 0.0, 0.0)],
)
def test_presets_have_their_shares_of_stuck_devices(kind: str, on: float, off: float, middle: float) -> None:
    found = np.concatenate([VirtualChip(preset(kind), 7).planted(array)[0].ravel() for array in range(3)])
    shares = np.bincount(found, minlength=4)[1:] / found.size
    assert shares == pytest.approx((on, off, middle), abs=0.006)


def test_stuck_devices_lie_in_the_range_of_their_kind() -> None:
    chip = VirtualChip(preset("good"), 1, faults=FaultPlan(shares=FaultShares(0.3, 0.3, 0.3)))
    kinds, units = chip.planted(0)
    us = units / 1e5
    assert np.all((us[kinds == Kind.STUCK_ON] >= 200) & (us[kinds == Kind.STUCK_ON] <= 400))
    assert np.all(us[kinds == Kind.STUCK_OFF] <= 1)
    assert np.all((us[kinds == Kind.STUCK_MIDDLE] >= 5) & (us[kinds == Kind.STUCK_MIDDLE] <= 150))


def test_half_of_all_devices_can_be_stuck() -> None:
    chip = VirtualChip(preset("good"), 1, faults=FaultPlan(shares=FaultShares(off=0.5)))
    assert np.mean(chip.planted(0)[0] > 0) == pytest.approx(0.5, abs=0.03)


def test_an_exact_map_is_planted_exactly() -> None:
    kinds = np.zeros((3, 64, 64), dtype=np.uint8)
    kinds[1, 4, 5] = Kind.STUCK_MIDDLE
    stuck = np.full(kinds.shape, np.nan)
    stuck[1, 4, 5] = 42e-6
    chip = VirtualChip(preset("poor"), 1, faults=FaultPlan(kinds=kinds, stuck_siemens=stuck))
    found, units = chip.planted(1)
    assert np.array_equal(found, kinds[1])
    assert units[4, 5] == 4_200_000


def test_noisy_devices_scatter_more() -> None:
    noisy = np.zeros((3, 64, 64), dtype=bool)
    noisy[0, 0] = True
    conductance = np.full((3, 64, 64), 5e-6)
    plain, planted = (
        VirtualChip(preset("good"), 1, faults=plan, conductance=conductance)
        for plan in (None, FaultPlan(noisy=noisy))
    )
    spreads = []
    for chip in (plain, planted):
        chip.set_gain(0, 3)
        spreads.append(np.median((chip.read_cells(0, 0, np.arange(64), 200) & 1023).std(axis=1)))
    assert spreads[1] > 3 * spreads[0]


def test_slow_devices_keep_more_of_their_conductance() -> None:
    slow = FaultPlan(shares=FaultShares(slow=1.0))
    conductance = np.full((3, 64, 64), 1e-4)
    plain, planted = (
        VirtualChip(preset("good"), 1, faults=plan, conductance=conductance) for plan in (None, slow)
    )
    medians = []
    for chip in (plain, planted):
        chip.pulse(0, ROWS, COLS, 0, dac_code(1.3), dac_code(5.0), 1000)
        medians.append(np.median(chip.conductance(0)))
    assert medians[1] > 1.5 * medians[0]


def test_shares_beyond_everything_are_refused() -> None:
    with pytest.raises(ValueError, match="shares"):
        VirtualChip(preset("good"), faults=FaultPlan(shares=FaultShares(on=0.7, off=0.7)))
