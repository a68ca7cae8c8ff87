"""Programming goes on after a fault that is over, and never after somebody asked for safety."""

import numpy as np
import pytest

from chipctl.errors import LinkTimeout, ProgrammingError
from chipctl.programming import program
from firmware_protocol.jobs import JobState
from firmware_protocol.status import Fault

TARGET = np.random.default_rng(2).uniform(10e-6, 140e-6, (64, 64))


def once(happen):
    """Calls `happen` when the first pulses were given."""
    happened = []

    def tell(progress):
        if progress.pulses and not happened:
            happened.append(progress)
            happen()

    return tell


@pytest.fixture
def chip(make_chip):
    return make_chip("good", seed=3)


@pytest.mark.parametrize("fault", [Fault.LEASE_LAPSED, Fault.BAD_FRAME_STORM, Fault.CONVERTER_TIMEOUT])
def test_a_fault_that_is_over_is_cleared_and_only_what_is_out_of_tolerance_is_programmed(chip, fault):
    report = program(chip, 0, TARGET, on_progress=once(lambda: chip.mcu._make_safe(fault)))

    assert len(report.interruptions) == 1
    assert fault.name.lower().replace("_", " ") in report.interruptions[0]
    assert report.pulses.sum() == chip.board.state().total_pulses
    assert report.verified.mean() > 0.95
    assert chip.board.state().fault == Fault.NONE


def test_programming_goes_on_after_a_brown_out(chip):
    def dip():
        chip.truth.set_supply(4_000_000)
        chip.mcu.work()
        chip.truth.set_supply(5_000_000)

    report = program(chip, 0, TARGET, on_progress=once(dip))
    assert "brown out" in report.interruptions[0]
    assert report.verified.mean() > 0.95


def test_a_fault_that_stays_ends_programming_with_what_was_done(chip):
    with pytest.raises(ProgrammingError, match="given up after 4 interruptions") as given_up:
        program(chip, 0, TARGET, on_progress=once(lambda: chip.truth.set_supply(4_000_000)))
    chip.truth.set_supply(5_000_000)
    assert given_up.value.report is None or len(given_up.value.report.interruptions) == 4


def test_programming_outlasts_any_number_of_interruptions_as_long_as_something_comes_of_it(chip, monkeypatch):
    follow, cut = chip.board._progress, []

    def cut_off(job_id):
        for job in follow(job_id):
            yield job
            if job.state == JobState.RUNNING and job.pulses and len(cut) < 6:
                cut.append(job)
                chip.mcu._make_safe(Fault.LEASE_LAPSED)

    monkeypatch.setattr("chipctl.board._POLL_SECONDS", (0.001,))
    monkeypatch.setattr(chip.board, "_progress", cut_off)
    report = program(chip, 0, TARGET)
    assert len(report.interruptions) == 6
    assert report.pulses.sum() == chip.board.state().total_pulses
    assert report.verified.mean() > 0.95


def test_programming_is_given_up_when_nothing_comes_of_three_interruptions(chip, monkeypatch):
    asked = []

    def silent(*_):
        asked.append(1)
        raise LinkTimeout("the cable was moved")

    monkeypatch.setattr(chip.board, "read_cells", silent)
    with pytest.raises(LinkTimeout, match="the cable was moved"):
        program(chip, 0, TARGET, on_progress=once(lambda: chip.mcu._make_safe(Fault.LEASE_LAPSED)))
    assert len(asked) == 3


def test_what_an_operator_made_safe_is_not_resumed(chip):
    """The fault comes first, the operator while the host finds out what happened."""

    def fault_then_safe():
        chip.mcu._make_safe(Fault.LEASE_LAPSED)
        chip.board.safe()

    with pytest.raises(ProgrammingError, match="asked to be safe") as ended:
        program(chip, 0, TARGET, on_progress=once(fault_then_safe))
    assert not chip.board.state().armed
    assert len(set(chip.board.rails().set_codes)) == 1
    assert ended.value.report.pulses.sum() == chip.board.state().total_pulses


def test_what_an_operator_made_safe_while_the_host_read_is_not_resumed(chip, monkeypatch):
    read_cells = chip.board.read_cells

    def read_then_safe(*asked):
        found = read_cells(*asked)
        chip.board.safe()
        return found

    monkeypatch.setattr(chip.board, "read_cells", read_then_safe)
    with pytest.raises(ProgrammingError, match="asked to be safe"):
        program(chip, 0, TARGET, on_progress=once(lambda: chip.mcu._make_safe(Fault.LEASE_LAPSED)))
    assert not chip.board.state().armed


def test_the_session_may_be_lost_again_while_the_host_finds_out(chip, monkeypatch):
    """The second loss is one of those that are allowed."""
    read_cells, lost = chip.board.read_cells, []

    def lose_once(*asked):
        if not lost:
            lost.append(asked)
            raise LinkTimeout("the cable was moved")
        return read_cells(*asked)

    monkeypatch.setattr(chip.board, "read_cells", lose_once)
    report = program(chip, 0, TARGET, on_progress=once(lambda: chip.mcu._make_safe(Fault.LEASE_LAPSED)))
    assert len(report.interruptions) == 2
    assert report.verified.mean() > 0.95
