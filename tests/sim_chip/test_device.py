"""Mean switching of a nominal device against the tables its parameters were fitted to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_chip import Direction, VirtualChip, dac_code, device, preset
from sim_chip.device import Pulse

NOMINAL = preset("ideal")
TRAITS = device.draw_traits(NOMINAL, 0, 0).of(np.zeros(1, dtype=np.intp))
ROWS, COLS = np.divmod(np.arange(4096), 64)


def pulse(volts: float, gate: float, width_ns: int = 1000) -> Pulse:
    return Pulse(np.array([volts]), np.array([gate]), width_ns)


@pytest.mark.parametrize(
    ("gate", "us"),
    [
        (0.80, 0.2),
        (0.85, 3.4),
        (0.90, 10.7),
        (0.95, 22.1),
        (1.00, 37.5),
        (1.10, 80.6),
        (1.15, 108),
        (1.20, 140),
        (1.25, 176),
        (1.30, 215),
        (1.40, 307),
        (1.50, 415),
    ],
)
def test_the_gate_sets_where_set_ends(gate: float, us: float) -> None:
    start = np.array([0.02])
    for _ in range(40):
        start = device.after_set(NOMINAL.switching, TRAITS, start, pulse(2.5, gate), np.zeros(1))
    assert start[0] == pytest.approx(us, rel=0.01, abs=0.06)


@pytest.mark.parametrize(
    ("start", "ends"),
    [
        (400, (299, 189, 140, 118, 108, 104)),
        (150, (123, 72.4, 51.8, 43.4, 39.9, 38.5)),
        (100, (95.2, 53.3, 36.4, 29.6, 26.9, 25.7)),
        (50, (50, 35.2, 21.5, 16.0, 13.9, 13.1)),
        (10, (10, 10, 9.8, 5.4, 3.6, 2.9)),
    ],
)
def test_reset_is_gradual(start: float, ends: tuple[float, ...]) -> None:
    for volts, expected in zip((1.0, 1.1, 1.2, 1.3, 1.4, 1.5), ends, strict=True):
        us = device.after_reset(
            NOMINAL.switching, TRAITS, np.array([float(start)]), pulse(volts, 5.0), np.zeros(1)
        )
        assert us[0] == pytest.approx(expected, rel=0.01, abs=0.06)


def test_set_never_lowers_and_reset_never_raises() -> None:
    us = np.array([120.0])
    weak = device.after_set(NOMINAL.switching, TRAITS, us, pulse(2.5, 0.9), np.zeros(1))
    strong = device.after_reset(NOMINAL.switching, TRAITS, np.array([0.02]), pulse(2.0, 5.0), np.zeros(1))
    assert weak[0] == 120.0
    assert strong[0] == 0.02


def test_longer_pulses_switch_more() -> None:
    start = np.array([60.0])
    ends = [
        device.after_reset(NOMINAL.switching, TRAITS, start, pulse(1.1, 5.0, width), np.zeros(1))
        for width in (20, 1000, 1_000_000)
    ]
    assert ends[0] > ends[1] > ends[2]
    off = np.array([0.5])
    ends = [
        device.after_set(NOMINAL.switching, TRAITS, off, pulse(1.5, 1.3, width), np.zeros(1))
        for width in (20, 1000, 1_000_000)
    ]
    assert ends[0] <= ends[1] < ends[2]


@pytest.mark.parametrize(
    ("us", "sigma"), [(1.0, 0.114), (5.0, 0.40), (20.0, 1.19), (50.0, 2.44), (120.0, 2.44)]
)
def test_published_fluctuation(us: float, sigma: float) -> None:
    model = preset("pessimistic").fluctuation
    assert device.fluctuation_us(model, np.array([us]), np.zeros(1))[0] == pytest.approx(sigma, abs=0.006)


@pytest.mark.parametrize("start_us", [(100, 100), (1, 150), (50, 300)])
def test_five_short_resets_leave_the_same_random_state(start_us: tuple[float, float]) -> None:
    start = np.random.default_rng(3).uniform(*start_us, (3, 64, 64)) * 1e-6
    chip = VirtualChip(preset("good"), 5, conductance=start)
    chip.pulse(0, ROWS, COLS, Direction.RESET, dac_code(1.5), dac_code(5.0), 20, count=5)
    kinds, units = chip.planted(0)
    logs = np.log(units[kinds == 0] / 1e5)
    assert 1.7 < np.exp(np.median(logs)) < 2.8
    assert 0.9 < logs.std() < 1.3


def test_stuck_devices_ignore_pulses() -> None:
    chip = VirtualChip(preset("poor"), 2)
    kinds, before = chip.planted(0)
    chip.pulse(0, ROWS, COLS, Direction.SET, dac_code(2.5), dac_code(1.3), 1000)
    after = chip.planted(0)[1]
    assert np.array_equal(before[kinds > 0], after[kinds > 0])
    assert (after[kinds == 0] > before[kinds == 0]).mean() > 0.9


def test_relaxation_grows_with_log_time_about_an_unmoved_median() -> None:
    chip = VirtualChip(preset("good"), 4, conductance=np.full((3, 64, 64), 2e-6))
    chip.pulse(0, ROWS, COLS, Direction.SET, dac_code(2.5), dac_code(1.04), 1000)
    healthy = chip.planted(0)[0] == 0
    fresh = chip.conductance(0)[healthy] * 1e6
    spreads = []
    for seconds in (0.9, 99, 99_900):
        chip.advance(round(seconds * 1e9))
        spreads.append((chip.conductance(0)[healthy] * 1e6 - fresh).std())
    assert spreads[0] == 0.0
    assert spreads[2] / spreads[1] == pytest.approx(1.41, abs=0.05)
    assert abs(np.median(chip.conductance(0)[healthy] * 1e6) - np.median(fresh)) < 1.0


def test_a_device_without_any_change_does_not_relax() -> None:
    chip = VirtualChip(preset("good"), 4)
    before = chip.planted(1)[1]
    chip.pulse(1, ROWS, COLS, Direction.SET, dac_code(0.2), dac_code(1.0), 1000)
    chip.advance(10**14)
    assert np.array_equal(before, chip.planted(1)[1])


def test_parameters_refuse_another_geometry() -> None:
    with pytest.raises(ValueError, match="64×64"):
        replace(preset("good"), rows=32)
