"""The fault scan finds what was planted, at its value, and accuses nobody else."""

import numpy as np
import pytest

from chipctl.chip import HostLimits
from chipctl.faults import scan
from chipctl.profile import FaultKind
from sim_chip.device import Kind
from sim_chip.faults import FaultPlan
from sim_chip.parameters import FaultShares


@pytest.mark.parametrize("kind", ["good", "poor"])
def test_planted_devices_are_found_and_healthy_ones_are_not_named(make_chip, kind):
    chip = make_chip(kind, seed=4)
    chip.measure_zero(0)

    found = scan(chip, 0).faults.stuck

    planted = chip.truth.planted(0)[0] != Kind.HEALTHY
    assert (found & planted).sum() >= 0.995 * planted.sum()
    assert (found & ~planted).sum() <= 0.001 * found.size


def test_half_of_the_devices_may_be_stuck(make_chip):
    chip = make_chip("good", seed=9, faults=FaultPlan(shares=FaultShares(on=0.2, off=0.2, middle=0.1)))

    found = scan(chip, 1).faults.stuck

    planted = chip.truth.planted(1)[0] != Kind.HEALTHY
    assert np.mean(found == planted) > 0.995


def test_a_stuck_device_is_named_with_the_conductance_it_shows(make_chip):
    kinds = np.zeros((3, 64, 64), np.uint8)
    siemens = np.full((3, 64, 64), np.nan)
    for col, (kind, value) in enumerate([(1, 300e-6), (2, 0.4e-6), (3, 70e-6)]):
        kinds[0, 20, col], siemens[0, 20, col] = kind, value
    chip = make_chip("good", seed=1, faults=FaultPlan(kinds=kinds, stuck_siemens=siemens))
    chip.measure_zero(0)

    faults = scan(chip, 0).faults

    wanted = [FaultKind.STUCK_HIGH, FaultKind.STUCK_LOW, FaultKind.STUCK_BETWEEN]
    assert [FaultKind(k) for k in faults.kinds[20, :3]] == wanted
    shown = [chip.read(0, reads=64, gain=2)[20, col] for col in range(3)]
    np.testing.assert_allclose(faults.conductance[20, :3], shown, atol=4e-6)


def test_the_map_is_kept_in_the_profile(make_chip):
    chip = make_chip("poor", seed=2)
    report = scan(chip, 2)
    kept = chip.profile.fault_map(2)
    np.testing.assert_array_equal(kept.kinds, report.faults.kinds)
    assert chip.profile.arrays[2].scanned is not None


def test_the_cost_of_a_scan_is_told(make_chip):
    chip = make_chip("good", seed=2)
    report = scan(chip, 0)
    assert report.pulses == chip.board.state().total_pulses
    assert report.reads == chip.board.book().reads


def test_a_scan_above_the_limits_gives_no_pulse(make_chip):
    chip = make_chip("good", seed=2)
    chip.tighten(HostLimits(set_volts=3.0))
    with pytest.raises(ValueError, match="above this board's limit"):
        scan(chip, 0)
    assert chip.board.state().total_pulses == 0


def test_a_scan_on_the_board_is_the_hosts_bit_by_bit(make_chip):
    driven, on_board = make_chip("poor", seed=8), make_chip("poor", seed=8)

    wanted, found = scan(driven, 1), scan(on_board, 1, on_board=True)

    np.testing.assert_array_equal(found.faults.kinds, wanted.faults.kinds)
    for name in ("kinds", "conductance", "uncertainty", "noisy", "slow"):
        np.testing.assert_array_equal(getattr(found.faults, name), getattr(wanted.faults, name))
    for name in ("final", "scatter", "pulse_counts", "reads"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(
        on_board.truth.conductance_units(1), driven.truth.conductance_units(1), strict=True
    )
