"""What is off by default: telegraph noise, wear, strong RESETs; and the ranges of parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_chip import Direction, FaultPlan, Kind, VirtualChip, dac_code, preset
from sim_chip.parameters import (
    OverdriveParameters,
    Spread,
    SwitchingParameters,
    WearParameters,
    WireParameters,
    evidence,
    records,
)

GOOD = preset("good")
ROWS, COLS = np.divmod(np.arange(4096), 64)
FEW = ROWS[:1024]
FLAT = np.full((3, 64, 64), 5e-5)


def jumping(share: float) -> VirtualChip:
    fluctuation = replace(GOOD.fluctuation, telegraph_share=share)
    return VirtualChip(replace(GOOD, fluctuation=fluctuation), 6, conductance=FLAT)


def noisiest() -> tuple[int, int]:
    """Where the noisiest device of these chips is; it jumps where devices jump."""
    chip = jumping(0.0)
    chip.set_gain(0, 2)
    spread = (chip.read_cells(0, ROWS, COLS, 30) & 1023).astype(float).std(axis=1)
    row, col = divmod(int(np.argmax(spread)), 64)
    return row, col


def test_averaging_helps_less_against_telegraph_noise() -> None:
    place = noisiest()
    left = []
    for share in (0.0, 1.0):
        chip = jumping(share)
        chip.set_gain(0, 2)
        means = []
        for _ in range(40):
            means.append((chip.read_cells(0, *place, 25) & 1023).mean())
            chip.advance(10**10)
        left.append(np.std(means))
    assert left[1] > 4 * left[0]


def test_telegraph_noise_has_two_levels_in_products_too() -> None:
    chip = jumping(1.0)
    chip.set_gain(0, 2)
    row, col = noisiest()
    place = chip.column_order(0)[col]
    seen = []
    for _ in range(60):
        words = chip.multiply(0, np.tile(np.eye(64)[row], (40, 1))).reshape(40, 64)[:, place]
        seen.append((words & 1023).mean())
        chip.advance(10**10)
    low, high = min(seen), max(seen)
    assert high - low > 20
    # some of the 4 ms runs see a jump
    assert sum(min(mean - low, high - mean) < 2 for mean in seen) > 45
    assert 10 < sum(mean > (low + high) / 2 for mean in seen) < 50


def test_telegraph_noise_does_not_depend_on_batches() -> None:
    together, apart = (jumping(0.7) for _ in range(2))
    bits = np.random.default_rng(1).integers(0, 2, (300, 64))
    parts = [apart.multiply(0, bits[n : n + 1]) for n in range(300)]
    assert np.array_equal(together.multiply(0, bits), np.concatenate(parts))
    rows = np.repeat(np.arange(64), 2)
    cols = np.tile([3, 4], 64)
    batch = together.read_cells(0, rows, cols, 3)
    single = [[apart.read_cells(0, r, c)[0, 0] for _ in range(3)] for r, c in zip(rows, cols, strict=True)]
    assert np.array_equal(batch, np.array(single))


def worn(pulses: int, **options: float | Spread) -> VirtualChip:
    """A chip whose devices had that many pulses too weak to move them."""
    kind = replace(GOOD, wear=WearParameters(on=True, **options))
    chip = VirtualChip(kind, 6, conductance=FLAT)
    chip.pulse(0, FEW, COLS[:1024], Direction.SET, dac_code(0.1), dac_code(5.0), 20, count=pulses)
    return chip


def test_wear_raises_the_voltage_a_reset_takes() -> None:
    medians = []
    for onset in (100.0, 1e6):
        chip = worn(1000, onset=onset, drift_volts=0.2)
        chip.pulse(0, FEW, COLS[:1024], Direction.RESET, dac_code(1.2), dac_code(5.0), 1000)
        medians.append(np.median(chip.conductance(0)[:16]) * 1e6)
    assert medians[0] > medians[1] + 5


def test_devices_stick_where_they_are_at_the_end_of_their_endurance() -> None:
    chip = worn(1000, endurance=Spread(1000.0, 0.5))
    kinds = chip.planted(0)[0].ravel()
    assert np.mean(kinds[:1024] == Kind.STUCK_MIDDLE) == pytest.approx(0.5, abs=0.05)
    before = chip.conductance_units(0).ravel()
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(1.5), dac_code(5.0), 1000)
    after = chip.conductance_units(0).ravel()
    assert np.array_equal(after[kinds > 0], before[kinds > 0])
    assert (after[kinds == 0] < before[kinds == 0]).mean() > 0.99


def overdriven(faults: FaultPlan | None = None) -> VirtualChip:
    return VirtualChip(
        replace(GOOD, overdrive=OverdriveParameters(on=True)), 6, faults=faults, conductance=FLAT
    )


def test_one_strong_reset_in_a_thousand_leaves_a_device_off() -> None:
    chip = overdriven(FaultPlan(kinds=np.zeros((3, 64, 64), np.uint8)))
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(2.4), dac_code(5.0), 1000, count=20)
    assert not chip.planted(0)[0].any()
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(2.6), dac_code(5.0), 1000, count=20)
    kinds, units = chip.planted(0)
    assert (kinds == Kind.STUCK_OFF).sum() == pytest.approx(20 * 4.096, abs=30)
    assert units[kinds == Kind.STUCK_OFF].max() <= 100_000


def test_half_of_the_stuck_on_devices_let_go_at_a_strong_reset() -> None:
    chip = overdriven(FaultPlan(kinds=np.full((3, 64, 64), Kind.STUCK_ON, np.uint8)))
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(2.7), dac_code(5.0), 1000)
    assert np.all(chip.planted(0)[0] == Kind.STUCK_ON)
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(2.9), dac_code(5.0), 1000, count=3)
    kinds = chip.planted(0)[0]
    assert np.mean(kinds == Kind.HEALTHY) == pytest.approx(0.5, abs=0.03)
    assert chip.conductance(0)[kinds == Kind.HEALTHY].max() < 1.5e-4


def test_a_chip_that_wears_goes_on_when_restored(tmp_path: Path) -> None:
    chip = worn(300, endurance=Spread(1000.0, 1.0))
    chip.save(tmp_path / "state")
    again = VirtualChip.restore(tmp_path / "state")
    for each in (chip, again):
        each.pulse(0, FEW, COLS[:1024], Direction.RESET, dac_code(1.5), dac_code(5.0), 20, count=200)
    assert np.array_equal(chip.planted(0)[0], again.planted(0)[0])
    assert again.parameters == chip.parameters


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: WireParameters(segment_ohms=9.0), r"segment_ohms is 9; known from 0 to 5 Ω \(AutoXbar"),
        (lambda: SwitchingParameters(threshold=Spread(1.4)), "threshold is 1.4; known from 0.6 to 1 V"),
        (lambda: SwitchingParameters(threshold=Spread(0.8, 0.5)), "spread of threshold is 0.5"),
        (lambda: replace(GOOD.converters, gain_ohms=(10, 10)), "gain_ohms is 10"),
        (lambda: WearParameters(drift_volts=float("nan")), "drift_volts is nan"),
    ],
)
def test_parameters_outside_their_evidence_are_refused(make: object, named: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=named):
        make()


def test_every_number_of_a_record_has_a_range_a_unit_and_a_source() -> None:
    for kind in records():
        numbers = {name for name, value in vars(kind()).items() if name != "on"}
        assert numbers == set(evidence(kind))
        assert all(known.unit and len(known.source) > 3 for known in evidence(kind).values())
