"""At most once, with many effects a case; and boards around which something goes wrong while they pulse."""

import random
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.proof import (
    ChipFile,
    Counts,
    Tally,
    believed,
    deadline,
    faults_of,
    journaled_pulses,
    plugged,
    serving,
    targets,
)
from chipctl.chip import Chip, connect
from chipctl.errors import DeviceError, LinkError, OutcomeUnknown, PortBusy
from chipctl.programming import program
from chipctl.runs import journaled
from chipctl.runs.journal import Journal
from firmware_protocol.messages import SET, Pulse
from firmware_protocol.rails import Rail
from firmware_protocol.status import Fault

EFFECTS = 200
"""Requests that pulse, each for itself, in one case."""

_CODE, _WIDTH_NS = 36_000, 1000
_REST_S = 0.05
"""Before the next session."""


class Believed:
    """What the host knows of every device, from the answers it got: done, or perhaps done."""

    def __init__(self, like: Counts) -> None:
        self.done, self.open = np.zeros_like(like), np.zeros_like(like)

    def judge(self, given: Counts, tally: Tally) -> None:
        """Each device has got what is done, and of what is open all or nothing of each."""
        most = self.done + self.open
        tally.double_pulses += int(np.clip(given - most, 0, None).sum())
        tally.wrong_beliefs += int(np.count_nonzero((given < self.done) | (given > most)))


def many_effects(name: str, troubles: tuple[str, ...], line: str, cases: int) -> Tally:
    """Pulse devices one by one through a bad cable: the chip, the answers and the journal agree on each."""
    tally = Tally(f"single pulses, {name}, {line}")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), line) as board,
        Journal(Path(folder)) as journal,
    ):
        chip_file = ChipFile(Path(folder) / "state")
        for seed in range(cases):
            before = chip_file.pulses
            known = Believed(before)
            with plugged(Path(folder), board, *troubles, "--seed", str(seed)) as cable, deadline(tally):
                _pulse(cable.address, journal, random.Random(seed), known)
            with deadline(tally), journaled.connect(board.address, journal, "") as chip:
                known.judge(chip_file.pulses - before, tally)
                written = journaled_pulses(journal, chip.board.welcome.serial, before)
                tally.judge(chip_file.pulses, written)
                tally.wrong_beliefs += int(chip.board.state().total_pulses != chip_file.pulses.sum())
            tally.faults += faults_of(cable.process)
            tally.cases += 1
    return tally


def _pulse(address: str, journal: Journal, dice: random.Random, known: Believed) -> None:
    """Give so many effects, in as many sessions as it takes."""
    left = [_request(dice) for _ in range(EFFECTS)]
    while left:
        try:
            with journaled.connect(address, journal, "") as chip:
                while left:
                    _give(chip, left.pop(), known)
        except (LinkError, PortBusy):
            time.sleep(_REST_S)


def _request(dice: random.Random) -> Pulse:
    array, direction, row, col = (dice.randrange(n) for n in (3, 2, 64, 64))
    count, rows = dice.choice([(1, 1), (1, 1), (3, 1), (1, min(4, 64 - row))])
    return Pulse(array, direction, _CODE, _CODE, _WIDTH_NS, count, row, rows, col, 1)


def _give(chip: Chip, request: Pulse, known: Believed) -> None:
    rows = request.row + np.arange(request.row_count)
    place = request.array, rows * chip.cols + request.col
    try:
        chip.board.pulse(request)
    except OutcomeUnknown:
        known.open[place] += request.count
        raise
    known.done[place] += request.count


INCIDENTS = {
    "brown_outs": (Fault.BROWN_OUT, 4.0),
    "stray_rails": (Fault.SUPPLY_OUT_OF_RANGE, float(Rail.VREF_TIA)),
    "stopped_adcs": (Fault.CONVERTER_TIMEOUT, 0.0),
}
"""Fault that the board latches, and where it happens: volts left, the rail, the array."""

_SHORT_S, _LONG_S = 0.3, 1.0
_LATE_PULSES = 500_000
"""More than programming gives."""
_ONE = Pulse(0, SET, _CODE, _CODE, _WIDTH_NS, 1, 0, 1, 0, 1)


def faulty_boards(cases: int) -> Tally:
    """Supply, rails and converters fail while the board pulses: outputs zero, fault latched, host goes on."""
    tally, dice = Tally("supply, rails, converters fail"), random.Random(3)
    for seed in range(cases):
        kind, (fault, place) = list(INCIDENTS.items())[seed % len(INCIDENTS)]
        with tempfile.TemporaryDirectory() as folder, deadline(tally):
            plan = Path(folder) / "faults.npz"
            rows = [(dice.randrange(100, 2000), 0, _SHORT_S, place), (_LATE_PULSES, 0, _LONG_S, place)]
            np.savez(plan, **{kind: np.array(rows, np.float64)})
            with serving(Path(folder), "pty", "--faults", str(plan)) as board:
                chip_file = ChipFile(Path(folder) / "state")
                with connect(board.address) as chip:
                    _programmed_on(chip, chip_file, fault, tally)
                    _stopped_at_once(chip, chip_file, fault, tally)
        tally.faults += len(rows)
        tally.cases += 1
    return tally


def _programmed_on(chip: Chip, chip_file: ChipFile, fault: Fault, tally: Tally) -> None:
    """A fault that is soon over: programming clears it and goes on, and every pulse is known."""
    mask = np.zeros((chip.rows, chip.cols), np.bool_)
    mask[:8] = True
    report = program(chip, 0, targets(0), mask=mask)
    tally.judge(chip_file.pulses, believed(report, chip_file.pulses))
    met = any(fault.name.lower().replace("_", " ") in said for said in report.interruptions)
    if not met or report.verified[mask].mean() < 0.9:
        print(f"{tally.name}: {fault.name}: {report.interruptions}", file=sys.stderr, flush=True)
        tally.wrong_beliefs += 1


def _stopped_at_once(chip: Chip, chip_file: ChipFile, fault: Fault, tally: Tally) -> None:
    """A fault in the middle of many pulses: they end, the outputs are zero, nothing goes on by itself.

    That converters stand still shows at the next read.
    """
    before = chip_file.pulses
    given = _accepted(chip, replace(_ONE, count=200, row_count=64, col_count=64))
    with suppress(DeviceError):
        chip.read(0)
        tally.wrong_beliefs += 1
    state, at_end = chip.board.state(), chip_file.pulses
    tally.wrong_beliefs += int(state.fault != fault or bool(state.armed) or not chip_file.is_safe)
    tally.wrong_beliefs += int((at_end - before).sum() != given) + _accepted(chip, _ONE)
    tally.double_pulses += int((chip_file.pulses - at_end).sum())
    time.sleep(_LONG_S)
    chip.board.clear_fault(fault)
    tally.wrong_beliefs += int(_accepted(chip, _ONE) != 1 or (chip_file.pulses - at_end).sum() != 1)


def _accepted(chip: Chip, request: Pulse) -> int:
    """Pulses that the board says it gave."""
    try:
        return chip.board.pulse(request).pulses
    except DeviceError as error:
        return error.done
