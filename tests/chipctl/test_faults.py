"""The fault scan finds what was planted, at its value, and accuses nobody else."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chipctl.chip import HostLimits, PulseShape
from chipctl.errors import ChipctlError
from chipctl.faults import ScanSchedule, scan
from chipctl.profile import FaultKind
from firmware_protocol.messages import SET
from sim_chip import device
from sim_chip.device import Kind
from sim_chip.faults import SLOW, FaultPlan, plant
from sim_chip.parameters import FaultShares, FluctuationParameters, Spread, SwitchingParameters
from sim_chip.presets import GOOD

ROW, COL = np.mgrid[:64, :64]
THIRDS = FaultShares(on=0.05, off=0.05, middle=0.05)


def planted(chip, array=0):
    return chip.truth.planted(array)[0] != Kind.HEALTHY


def siemens_read(chip, array=0):
    """What stuck devices show at 0.2 V without noise: themselves with transistor and lines in series."""
    siemens, wires = chip.truth.planted(array)[1] * 1e-11, chip.truth.parameters.wires
    ohms = wires.driver_ohms + wires.tia_ohms + wires.transistor_ohms
    return siemens / (1 + siemens * (ohms + wires.segment_ohms * (COL + 1 + 64 - ROW)))


def is_found_exactly(chip, report):
    return np.array_equal(report.faults.stuck, planted(chip, report.array))


def sigmas_off(chip, report):
    """Errors of the values of stuck devices over their stated uncertainty."""
    found = report.faults.stuck
    errors = report.faults.conductance - siemens_read(chip, report.array)
    return np.abs(errors / report.faults.uncertainty)[found]


@pytest.mark.parametrize("kind", ["good", "poor", "raw", "pessimistic"])
def test_planted_devices_are_found_and_healthy_ones_are_not_named(make_chip, kind):
    chip = make_chip(kind, seed=4)
    assert is_found_exactly(chip, scan(chip, 0))


@pytest.mark.parametrize("shares", [FaultShares(on=0.5), FaultShares(off=0.5), FaultShares(middle=0.5)])
def test_half_of_the_devices_may_be_stuck(make_chip, shares):
    chip = make_chip("good", seed=9, faults=FaultPlan(shares=shares))
    assert is_found_exactly(chip, scan(chip, 1, on_board=True))


@pytest.mark.parametrize("kind", ["good", "raw"])
def test_stated_uncertainties_cover_the_true_values(make_chip, kind):
    """As a normal distribution would, or better: good and bad converters tell how far they are off."""
    chip = make_chip(kind, seed=5, faults=FaultPlan(shares=FaultShares(on=0.15, off=0.15, middle=0.15)))
    off = sigmas_off(chip, scan(chip, 0, on_board=True))
    assert off.size > 1500
    assert np.mean(off <= 1) >= 0.5
    assert np.mean(off <= 2) >= 0.94
    assert np.mean(off <= 3) >= 0.99


def test_uncertainties_are_not_larger_than_they_must_be(make_chip):
    chip = make_chip("good", seed=5, faults=FaultPlan(shares=THIRDS))
    report = scan(chip, 0, on_board=True)
    errors = (report.faults.conductance - siemens_read(chip))[report.faults.stuck]
    stated = report.faults.uncertainty[report.faults.stuck]
    assert np.sqrt(np.mean(stated**2)) < 1.5 * np.sqrt(np.mean(errors**2))
    assert np.abs(errors).max() < 5e-6


def test_a_device_stuck_beyond_the_range_of_the_scan_is_read_at_a_gain_that_fits(make_chip):
    kinds, siemens = np.zeros((3, 64, 64), np.uint8), np.full((3, 64, 64), np.nan)
    kinds[0, ::8, ::8], siemens[0, ::8, ::8] = Kind.STUCK_ON, np.linspace(0.3e-3, 5e-3, 64).reshape(8, 8)
    chip = make_chip("good", seed=1, faults=FaultPlan(kinds=kinds, stuck_siemens=siemens))
    report = scan(chip, 0)
    assert is_found_exactly(chip, report)
    assert (report.faults.kinds[report.faults.stuck] == FaultKind.STUCK_HIGH).all()
    assert sigmas_off(chip, report).max() <= 3


def test_fluctuation_of_stuck_devices_is_not_taken_for_movement(make_chip):
    noisy = np.ones((3, 64, 64), bool)  # e² beyond what each device has by itself
    plan = FaultPlan(shares=FaultShares(on=0.1, middle=0.2), noisy=noisy)
    chip = make_chip("good", seed=3, faults=plan)
    report = scan(chip, 0)
    assert np.mean(report.faults.stuck[planted(chip)]) >= 0.995
    assert not report.faults.stuck[~planted(chip)].any()


def test_devices_that_jump_between_two_levels_are_judged_all_the_same(make_chip):
    jumping = replace(GOOD, fluctuation=FluctuationParameters(telegraph_share=0.5))
    chip = make_chip(jumping, seed=3, faults=FaultPlan(shares=FaultShares(on=0.1, middle=0.2)))
    assert is_found_exactly(chip, scan(chip, 0))


def test_devices_are_noisy_whose_single_reads_scatter_by_more_than_the_tolerance(make_chip):
    chip = make_chip("good", seed=3)
    report = scan(chip, 0, ScanSchedule(lower=False))
    traits = device.draw_traits(chip.truth.parameters, 3, 0)
    us = chip.truth.conductance(0).ravel() * 1e6
    sigma = device.fluctuation_us(chip.truth.parameters.fluctuation, us, traits.noisiness).reshape(64, 64)
    raised = report.pulse_counts == 1  # reads since the first pulse tell their scatter
    assert report.faults.noisy[(sigma > 7) & raised].mean() > 0.9
    assert report.faults.noisy[(sigma < 3.5) & raised].mean() < 0.003


def test_slow_devices_are_told_from_stuck_ones(make_chip):
    plan = FaultPlan(shares=replace(THIRDS, slow=0.3))
    chip = make_chip("good", seed=6, faults=plan)
    report = scan(chip, 0)
    slow = (plant(chip.truth.parameters, plan, 6, 0).flags.reshape(64, 64) & SLOW) > 0
    assert is_found_exactly(chip, report)
    assert report.faults.slow[slow].mean() > 0.9
    assert report.faults.slow[~slow].mean() < 0.002


def test_devices_that_are_hard_to_set_are_slow_but_not_stuck(make_chip):
    """First SET at 2.3 V, not 1.7 V, when fully off."""
    hard = SwitchingParameters(set_threshold=Spread(1.35, 0.1), off_gap=Spread(0.95, 0.2))
    chip = make_chip(replace(GOOD, switching=hard, faults=FaultShares()), seed=3, conductance=2e-8)
    report = scan(chip, 0)
    assert not report.faults.stuck.any()
    assert report.faults.slow.mean() > 0.2


def test_healthy_devices_get_no_more_pulses_than_tell_and_lower_them(make_chip):
    chip = make_chip("good", seed=2, faults=FaultPlan(shares=THIRDS))
    told = scan(chip, 0, ScanSchedule(lower=False))
    assert told.pulses_per_healthy < 1.05
    lowered = scan(make_chip("good", seed=2, faults=FaultPlan(shares=THIRDS)), 0)
    assert lowered.pulses_per_healthy < 2.5
    healthy = ~lowered.faults.stuck
    assert np.quantile(lowered.final[healthy], 0.99) < 55e-6


def test_devices_that_were_read_elsewhere_before_get_no_pulse(make_chip):
    chip = make_chip("good", seed=2, faults=FaultPlan(shares=THIRDS))
    before = chip.read(0)
    chip.pulse(0, PulseShape(SET, 2.4, 1.1, 1e-6))
    given = chip.board.state().total_pulses

    report = scan(chip, 0, earlier=[before])

    assert is_found_exactly(chip, report)
    spared = (report.pulse_counts == 0) & ~planted(chip)
    assert spared.mean() > 0.75
    assert chip.board.state().total_pulses - given == report.pulses


def test_a_device_stuck_beside_a_device_under_pulses_keeps_its_value(make_chip):
    kinds = np.zeros((3, 64, 64), np.uint8)
    kinds[0, :, ::2] = Kind.STUCK_MIDDLE
    chip = make_chip("good", seed=8, faults=FaultPlan(kinds=kinds))
    report = scan(chip, 0, on_board=True)
    assert is_found_exactly(chip, report)
    assert np.mean(sigmas_off(chip, report) <= 3) >= 0.995


def test_the_page_on_settings_shows_every_default_of_a_scan():
    page = (Path(__file__).parents[2] / "docs/settings.md").read_text(encoding="utf-8")
    written = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])["scan"]
    assert set(written) == set(ScanSchedule.model_fields)
    assert ScanSchedule.model_validate(written) == ScanSchedule()


def test_the_map_is_kept_in_the_profile(make_chip):
    chip = make_chip("poor", seed=2)
    report = scan(chip, 2)
    kept = chip.profile.fault_map(2)
    for name in ("kinds", "conductance", "uncertainty", "noisy", "slow"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(report.faults, name))
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
    plan = FaultPlan(shares=replace(THIRDS, slow=0.1), dead_rows=((1, 7),), dead_adcs=((1, 3),))
    driven, on_board = (make_chip("good", seed=8, faults=plan) for _ in range(2))

    wanted, found = scan(driven, 1), scan(on_board, 1, on_board=True)

    for name in ("kinds", "conductance", "uncertainty", "noisy", "slow", "lines"):
        np.testing.assert_array_equal(getattr(found.faults, name), getattr(wanted.faults, name))
    for name in ("final", "scatter", "pulse_counts", "reads"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(
        on_board.truth.conductance_units(1), driven.truth.conductance_units(1), strict=True
    )


def test_a_scan_that_the_board_ends_leaves_the_map_as_it_was(make_chip):
    chip = make_chip("good", seed=5, faults=FaultPlan(shares=THIRDS))
    with pytest.raises(ChipctlError) as raised:
        scan(chip, 0, on_progress=lambda _: chip.safe(), on_board=True)
    assert "scan it again" in raised.value.__notes__[0]
    assert chip.profile.arrays[0].scanned is None
    assert is_found_exactly(chip, scan(chip, 0))
