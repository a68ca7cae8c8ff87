"""Few pulses: each device starts near where it lands, and what it did before is remembered."""

from dataclasses import replace

import numpy as np
import pytest

from chipctl.programming import program
from chipctl.results import CalibrationResult, Quantity
from chipctl.schedules import PulseSchedule, Revisits, named
from sim_chip.parameters import Spread
from sim_chip.presets import preset

TARGET = np.random.default_rng(8).uniform(0, 150e-6, (64, 64))


def healthy(chip):
    return chip.truth.planted(0)[0] == 0


def other_devices():
    """Devices far from what the nominal laws say: 50 mV at the gate, 100 mV in RESET, half the steepness."""
    good = preset("good")
    switching = replace(
        good.switching,
        threshold=Spread(0.835, 0.012),
        transconductance=Spread(600e-6, 0.05),
        reset_reference=Spread(1.05, 0.07),
        reset_steepness=Spread(6.0, 0.25),
    )
    return replace(good, switching=switching)


@pytest.mark.parametrize("kind", ["good", other_devices()], ids=["as calibrated", "other devices"])
def test_a_few_pulses_bring_every_device_home(make_chip, kind):
    chip = make_chip(kind, seed=21)
    mask = healthy(chip)
    report = program(chip, 0, TARGET, mask=mask)
    assert report.verified[mask].mean() >= 0.98
    assert report.pulses[mask].mean() < 10
    errors = (report.final - TARGET)[mask]
    assert abs(errors.mean()) < 0.3e-6


def test_a_calibrated_profile_spares_pulses_on_devices_unlike_the_nominal(make_chip):
    given = []
    for calibrated in (False, True):
        chip = make_chip(other_devices(), seed=21)
        if calibrated:
            ohms = 330 + 50 + 25 + 64
            law = {
                "threshold": 0.835,
                "gain": 600e-6 / (2 * 0.45),
                "series_ohms": ohms,
                "threshold_spread": 0.012,
                "gain_spread": 0.05,
                "set_jitter": 0.08,
            }
            know(chip, "gate", law)
            know(chip, "thresholds", {"reset_reference": 1.05, "reset_steepness": 6.0})
        given.append(program(chip, 0, TARGET, mask=healthy(chip)).pulses.mean())
    assert given[1] < 0.95 * given[0]


def know(chip, procedure, values):
    """Put a calibration result into the chip's profile."""
    quantities = {name: Quantity.of(value, 0.0, "SI") for name, value in values.items()}
    chip.profile.arrays[0].calibration[procedure] = CalibrationResult.judged(procedure, quantities)


def test_without_noise_a_second_pulse_makes_good_what_the_first_taught(make_chip):
    """Gates 10 mV off what the law says: the first SET lands off by that, the second on the spot."""
    ideal = preset("ideal")
    shifted = replace(ideal, switching=replace(ideal.switching, threshold=Spread(0.835)))
    chip = make_chip(shifted, conductance=10e-6)
    report = program(chip, 0, np.full((64, 64), 80e-6), schedule=PulseSchedule(set_short=0))
    np.testing.assert_array_equal(report.set_pulses, 2)
    assert not report.reset_pulses.any()
    assert report.verified.all()


def test_the_order_of_pulses_does_not_matter_where_devices_do_not_disturb_each_other(make_chip):
    chips = [make_chip("good", seed=22) for _ in range(2)]
    for chip, order in zip(chips, ("rows", "spread"), strict=True):
        program(chip, 0, TARGET, schedule=PulseSchedule(order=order))
    np.testing.assert_array_equal(*(chip.truth.conductance_units(0) for chip in chips))


def test_fine_revisits_what_has_relaxed_away(make_chip):
    chip = make_chip("good", seed=23)
    mask = healthy(chip)
    schedule = named("fine").model_copy(update={"revisits": Revisits(most=4)})

    report = program(chip, 0, TARGET, mask=mask, schedule=schedule)

    errors = (chip.read(0, reads=10, gain=2) - TARGET)[mask]
    assert errors.std() < 2.2e-6
    assert (report.visits, report.rested_seconds) == (4, 500)
    assert report.pulses.sum() == chip.board.state().total_pulses
    read = np.abs(report.final - TARGET)[mask] <= schedule.tolerance
    np.testing.assert_array_equal(report.verified[mask], read)


def test_a_device_that_stays_is_never_pulsed_again(make_chip):
    chip = make_chip("ideal", conductance=50e-6)
    report = program(chip, 0, np.full((64, 64), 50e-6), schedule=named("fine"))
    assert report.pulses.sum() == 0
    assert (report.visits, report.rested_seconds) == (0, 100)


def test_progress_tells_yield_error_and_time_left(make_chip):
    chip, seen = make_chip("good", seed=24), []
    report = program(chip, 0, TARGET, on_progress=seen.append)
    last = seen[-1]
    aimed = PulseSchedule().zero_aim * np.clip(1 - TARGET / PulseSchedule().inner_tolerance, 0, 1)
    errors = report.final - TARGET + aimed
    assert last.sigma == pytest.approx(errors.std(), rel=0.02)
    assert last.mean == pytest.approx(errors.mean(), abs=0.05e-6)
    assert last.share == pytest.approx(report.verified.mean(), abs=1e-9)
    assert last.seconds_left == 0
    assert all(p.seconds_left is None or p.seconds_left >= 0 for p in seen)
