"""Write-and-verify from the host: the board's decisions pulse by pulse, and nothing sent twice on a guess."""

from types import SimpleNamespace

import numpy as np
import pytest

from chipctl.errors import OutcomeUnknown, ProgrammingError
from chipctl.programming import program
from chipctl.schedules import PulseSchedule, named
from firmware_protocol.status import Fault

TARGET = np.random.default_rng(4).uniform(0, 150e-6, (64, 64))
CORNER = np.zeros((64, 64), bool)
CORNER[20:36, 7:23] = True


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_host_and_board_give_the_same_pulses_to_the_bit(make_chip, name):
    on_board, on_host = make_chip("good", seed=9), make_chip("good", seed=9)

    theirs = program(on_board, 0, TARGET, mask=CORNER, schedule=named(name))
    ours = program(on_host, 0, TARGET, mask=CORNER, schedule=named(name), on_host=True)

    np.testing.assert_array_equal(on_host.truth.conductance_units(0), on_board.truth.conductance_units(0))
    np.testing.assert_array_equal(on_host.truth.pulse_counts(0), on_board.truth.pulse_counts(0))
    for what in ("set_pulses", "reset_pulses", "last_volts", "last_gate_volts", "verdicts", "final"):
        np.testing.assert_array_equal(getattr(ours, what), getattr(theirs, what), err_msg=what)
    assert (ours.rounds, ours.outcome) == (theirs.rounds, theirs.outcome)
    assert ours.pulses.sum() > 256


def test_the_host_needs_a_board_that_reads_and_pulses_and_nothing_more(make_chip):
    chip = make_chip("good", seed=10)
    native = chip.board
    kept = ("read_cells", "pulse_map", "state", "welcome", "info", "limits")
    chip.board = SimpleNamespace(**{name: getattr(native, name) for name in kept})
    report = program(chip, 0, TARGET, mask=CORNER, on_host=True)
    assert report.verified[CORNER].mean() >= 0.98


def test_what_the_mask_leaves_out_keeps_every_bit(make_chip):
    chip = make_chip("good", seed=5)
    before = chip.truth.conductance_units(0)
    program(chip, 0, TARGET, mask=CORNER, on_host=True)
    np.testing.assert_array_equal(chip.truth.conductance_units(0)[~CORNER], before[~CORNER])
    assert (chip.truth.conductance_units(0)[CORNER] != before[CORNER]).mean() > 0.9


@pytest.mark.parametrize("arrives", [True, False], ids=["given", "lost on the way"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_batch_without_an_answer_is_settled_by_reading(make_chip, monkeypatch, arrives, batch):
    chip = make_chip("good", seed=3)
    pulse_map, sent = chip.board.pulse_map, []

    def silent_once(*asked):
        sent.append(asked)
        if len(sent) == batch:
            if arrives:
                pulse_map(*asked)
            raise OutcomeUnknown("no answer")
        return pulse_map(*asked)

    monkeypatch.setattr(chip.board, "pulse_map", silent_once)
    report = program(chip, 0, TARGET, mask=CORNER, on_host=True)

    lost = np.count_nonzero(sent[batch - 1][3])
    assert report.unplaced_pulses == (lost if arrives else 0)
    assert report.pulses.sum() + report.unplaced_pulses == chip.truth.pulse_counts(0).sum()
    assert len(report.interruptions) == 1
    assert report.verified[CORNER].mean() > 0.98


def test_a_device_that_an_unanswered_pulse_brought_home_gets_no_other(make_chip, monkeypatch):
    """On a chip without noise, one device whose only pulse is the one nobody answered for."""
    chip = make_chip("ideal", conductance=20e-6)
    one = np.zeros((64, 64), bool)
    one[3, 4] = True
    wide = PulseSchedule(inner_tolerance=5e-6)
    pulse_map = chip.board.pulse_map

    def silent(*asked):
        pulse_map(*asked)
        raise OutcomeUnknown("no answer")

    monkeypatch.setattr(chip.board, "pulse_map", silent)
    report = program(chip, 0, np.full((64, 64), 50e-6), mask=one, schedule=wide, on_host=True)
    assert chip.truth.pulse_counts(0)[3, 4] == 1
    assert (report.pulses.sum(), report.unplaced_pulses) == (0, 1)
    assert report.verified[3, 4]


def test_a_fault_between_batches_is_cleared_and_work_goes_on(make_chip):
    chip, done = make_chip("good", seed=3), []

    def fault_once(progress):
        if progress.pulses and not done:
            done.append(progress)
            chip.mcu._make_safe(Fault.LEASE_LAPSED)

    report = program(chip, 0, TARGET, mask=CORNER, on_host=True, on_progress=fault_once)
    assert len(report.interruptions) == 1
    assert report.verified[CORNER].mean() > 0.98
    assert report.pulses.sum() == chip.board.state().total_pulses


def test_what_an_operator_made_safe_gets_no_further_pulse(make_chip):
    chip, done = make_chip("good", seed=3), []

    def fault_then_safe(progress):
        if progress.pulses and not done:
            done.append(chip.board.state().total_pulses)
            chip.mcu._make_safe(Fault.LEASE_LAPSED)
            chip.board.safe()

    with pytest.raises(ProgrammingError, match="asked to be safe") as ended:
        program(chip, 0, TARGET, mask=CORNER, on_host=True, on_progress=fault_then_safe)
    assert chip.board.state().total_pulses == done[0]
    assert ended.value.report.pulses.sum() == done[0]


def test_an_order_that_the_host_cannot_keep_is_refused(make_chip):
    chip = make_chip()
    with pytest.raises(ValueError, match="row by row"):
        program(chip, 0, TARGET, schedule=PulseSchedule(order="spread"), on_host=True)
    assert chip.board.state().total_pulses == 0
