"""Write-and-verify through the wire: targets reached, others untouched, the report true."""

import numpy as np
import pytest

from chipctl.errors import ProgrammingError
from chipctl.programming import program
from chipctl.schedules import PulseSchedule, Ramp
from firmware_protocol.jobs import JobState, Verdict


def differential(rng, rows=64, cols=64):
    """Half-normal weights on neighbouring columns, 0 to 150 µS."""
    weights = np.clip(rng.normal(0, 0.35, (rows, cols // 2)), -1, 1)
    target = np.zeros((rows, cols))
    target[:, 0::2], target[:, 1::2] = np.maximum(weights, 0), np.maximum(-weights, 0)
    return target * 150e-6


@pytest.mark.parametrize("seed", [11, 12])
def test_a_differential_map_reaches_the_published_precision(make_chip, seed):
    chip = make_chip("good", seed=seed)
    chip.measure_zero(0)
    target = differential(np.random.default_rng(seed))
    healthy = chip.truth.planted(0)[0] == 0

    report = program(chip, 0, target, mask=healthy)
    errors = (chip.read(0, gain=2) - target)[healthy]

    assert report.verified[healthy].mean() >= 0.98
    assert abs(errors.mean()) < 0.5e-6
    assert errors.std() < 4.4e-6


def test_devices_outside_the_mask_keep_every_bit(make_chip):
    chip = make_chip("good", seed=5)
    before = chip.truth.conductance_units(1)
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:40] = True

    report = program(chip, 1, np.full((64, 64), 60e-6), mask=mask)

    after = chip.truth.conductance_units(1)
    np.testing.assert_array_equal(after[~mask], before[~mask])
    assert report.devices == 100
    assert (report.verdicts[~mask] == Verdict.SKIPPED).all()


def test_the_report_counts_the_pulses_the_chip_counted(make_chip):
    chip = make_chip("good", seed=6)
    report = program(chip, 0, np.full((64, 64), 40e-6))
    assert report.pulses.sum() == chip.board.state().total_pulses
    assert report.set_pulses.sum() == chip.truth.book.set_pulses


def test_a_device_in_tolerance_is_left_alone(make_chip):
    chip = make_chip("ideal", conductance=50e-6)
    report = program(chip, 0, np.full((64, 64), 51e-6))
    assert report.pulses.sum() == 0
    assert report.verified.all()


def test_a_device_that_cannot_follow_is_given_up_and_named(make_chip):
    kinds = np.zeros((3, 64, 64), np.uint8)
    kinds[0, 7, 9] = 2
    from sim_chip.faults import FaultPlan

    chip = make_chip("good", seed=2, faults=FaultPlan(kinds=kinds))
    mask = np.zeros((64, 64), bool)
    mask[7, 8:10] = True
    few = PulseSchedule(set_gate_volts=Ramp(first=1.0, last=1.2, step=0.1))

    report = program(chip, 0, np.full((64, 64), 60e-6), mask=mask, schedule=few)

    assert Verdict(report.verdicts[7, 9]) is Verdict.GAVE_UP_LOW
    assert report.outcome is JobState.DONE


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.full((64, 64), 151e-6), "outside 0 to 150 µS"),
        (np.full((64, 64), -1e-6), "outside 0 to 150 µS"),
        (np.full((64, 64), 75.0), r"targets are in siemens"),
        (np.full((64, 64), np.nan), "outside 0 to 150 µS"),
        (np.zeros((64, 63)), "shape"),
    ],
)
def test_a_wrong_target_never_leaves_the_host(make_chip, target, words):
    chip = make_chip()
    with pytest.raises(ValueError, match=words):
        program(chip, 0, target)
    assert chip.board.state().total_pulses == 0


def test_progress_is_told_and_safe_ends_the_job_with_its_report(make_chip):
    chip = make_chip("good", seed=8)
    seen = []

    def stop(progress):
        seen.append(progress)
        chip.safe()

    with pytest.raises(ProgrammingError, match="ended programming early") as stopped:
        program(chip, 0, np.full((64, 64), 80e-6), on_progress=stop)

    assert seen[0].devices == 4096
    assert stopped.value.report.pulses.sum() == chip.board.state().total_pulses
