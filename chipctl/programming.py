"""Write-and-verify: bring the devices of an array to their targets by a policy given as data."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.host_writing import HostWriting
from chipctl.program_report import ProgramProgress, ProgramReport
from chipctl.schedules import PulseSchedule, Ramp
from chipctl.write_plan import check_schedule, check_targets
from chipctl.writing import BoardWriting, Writing
from firmware_protocol.jobs import Verdict

__all__ = [
    "ProgramProgress",
    "ProgramReport",
    "PulseSchedule",
    "Ramp",
    "check_schedule",
    "check_targets",
    "program",
]


def program(  # noqa: PLR0913 - what, how, by whom, and who is told
    chip: Chip,
    array: int,
    target: Siemens,
    *,
    mask: NDArray[np.bool_] | None = None,
    schedule: PulseSchedule | None = None,
    on_progress: Callable[[ProgramProgress], None] | None = None,
    on_host: bool = False,
) -> ProgramReport:
    """Bring the chosen devices of one array to their targets.

    Changes the devices in `mask`, no others.

    Args:
        chip: The chip.
        array: Array index, from 0.
        target: Conductance as read at the read voltage, shape (rows, cols), 0 to 150 µS where `mask`.
        mask: Devices to program, shape (rows, cols); all by default.
        schedule: The policy; `chipctl.schedules` has some by name.
        on_progress: Called a few times a second.
        on_host: Decide on every pulse here, for a board that only reads and pulses, and not in one job on
            the board. The decisions are the same; it takes a hundred times the bytes on the wire. A board
            that runs no jobs is always served so.

    Raises:
        ValueError: A target or voltage is outside what the chip takes; nothing was sent.
        ProgrammingError: Somebody asked for safety, or the board latched a fault too often; holds the report
            of what was done.
        LinkError: The board went away, and did not come back or did so too often.

    When the line is lost, the board is reset or goes to its safe state by a fault, nothing is guessed: the
    board is asked what became of the pulses, the fault is cleared, the devices are read, and only those out
    of tolerance are programmed further. What an operator made safe is left alone.
    """
    schedule = schedule or PulseSchedule()
    mask = np.ones((chip.rows, chip.cols), np.bool_) if mask is None else np.asarray(mask, np.bool_)
    target = np.asarray(target, np.float64)
    check_targets(chip, array, target, mask)
    check_schedule(chip, schedule)
    kind = HostWriting if on_host or not chip.board.runs_jobs else BoardWriting
    writing = kind(chip, array, target, schedule, on_progress or (lambda _: None))
    report = writing.bring(mask)
    return _revisited(writing, report) if schedule.revisits.most else report


def _revisited(writing: Writing, report: ProgramReport) -> ProgramReport:
    """Let the array relax and program again what moved away, until nothing does or it was done often enough.

    The last look is after the last rest, so that the report says what stays.
    """
    policy, chip = writing.schedule.revisits, writing.chip
    for visit in range(policy.most + 1):
        with writing.tell.resting(policy.rest):
            writing.through(lambda: chip.wait(policy.rest))
        now = writing.through(lambda: writing.looked_at(policy.reads))
        rested = report.rested_seconds + policy.rest
        report = report.seen_again(now, writing.schedule.tolerance, now.size * policy.reads)
        report = writing.report = replace(report, rested_seconds=rested)
        moved = report.mask & (np.abs(now - report.target) > policy.tolerance)
        moved &= ~np.isin(report.verdicts, (Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH))
        if visit == policy.most or not moved.any():
            return report
        writing.tell.visit = visit + 1
        report = replace(writing.bring(moved), visits=visit + 1)
    return report
