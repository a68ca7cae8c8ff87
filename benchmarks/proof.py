"""What the proofs of the wire share: real processes, the chip as its file shows it, a line of the table."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chipctl.programming import ProgramReport
from chipctl.runs.journal import Journal
from sim_chip import state
from sim_chip.chip import VirtualChip
from sim_chip.guard import GROUND_CODE
from sim_chip.presets import preset

Counts = NDArray[np.int64]

HANG_S = 120.0
"""A case that takes longer has hung."""


@dataclass
class Tally:
    """One line of the table."""

    name: str
    cases: int = 0
    faults: int = 0
    """Frames lost or doubled, bits flipped, stalls, cables pulled, processes killed or interrupted."""
    double_pulses: int = 0
    """Pulses on the chip that the host knows nothing of."""
    wrong_beliefs: int = 0
    """Devices, counts or states of which the host believes what is not so."""
    hangs: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.double_pulses or self.wrong_beliefs or self.hangs)

    def judge(self, given: Counts, believed: Counts) -> None:
        """Compare pulses per device on the chip with those that the host reports."""
        self.double_pulses += int(np.clip(given - believed, 0, None).sum())
        self.wrong_beliefs += int(np.count_nonzero(given != believed))


class ChipFile:
    """The state file of a running or killed board, seen from outside."""

    def __init__(self, path: Path) -> None:
        self._state = state.load(path, mapped=True)
        fresh = VirtualChip(preset("good"), 0)
        fresh.power_up()
        self._for_reading = [fresh.rail(rail) for rail in range(self._state.rails.size)]

    @property
    def pulses(self) -> Counts:
        """Per array and device, since the chip was made."""
        return self._state.pulse_count.astype(np.int64)

    @property
    def is_safe(self) -> bool:
        """Whether every rail is at 0 V, or where reading needs it: no pulse, no raised gate."""
        rails = self._state.rails.tolist()
        return set(rails) == {GROUND_CODE} or rails == self._for_reading


class Running(NamedTuple):
    """A process, and where it can be reached."""

    process: subprocess.Popen[str]
    place: str
    """A path, or host:port."""

    @property
    def address(self) -> str:
        """As `connect` takes it."""
        return self.place if "/" in self.place else f"socket://{self.place}"


@contextmanager
def running(*command: str) -> Iterator[Running]:
    """A Python module as a process that has said on stderr where it is; it is stopped in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        if " on " not in said:
            raise RuntimeError(f"{command[0]} did not start: {said}{process.stderr.read()}")
        yield Running(process, said.rpartition(" on ")[2].strip())
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


def serving(place: Path, line: str = "pty", *options: str) -> AbstractContextManager[Running]:
    """A board at `place`/board, or on TCP, that keeps its chip in `place`/state."""
    where = ("--pty", str(place / "board")) if line == "pty" else ("--tcp", "localhost:0")
    return running("sim_chip.cli", "serve", *where, "--state", str(place / "state"), *options)


def plugged(place: Path, board: Running, *troubles: str) -> AbstractContextManager[Running]:
    """A bad cable in front of a board: a serial port before a serial port, TCP before TCP."""
    host = str(place / "cable") if "/" in board.place else "localhost:0"
    return running("benchmarks.bad_cable", host, board.place, *troubles)


@contextmanager
def deadline(tally: Tally) -> Iterator[None]:
    """Count a hang, and go on, if the block takes longer than `HANG_S`."""

    def ring(*_: object) -> None:
        raise TimeoutError("hung")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    except TimeoutError as error:
        if str(error) != "hung":
            raise
        tally.hangs += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def targets(seed: int) -> NDArray[np.float64]:
    """A target for every device of an array, siemens."""
    return np.random.default_rng(seed).uniform(0, 150e-6, (64, 64))


def believed(report: ProgramReport, like: Counts) -> Counts:
    """Pulses per array and device that the host reports."""
    counts = np.zeros_like(like)
    counts[report.array] = report.pulses.ravel()
    return counts


def journaled_pulses(journal: Journal, serial: str, like: Counts) -> Counts:
    """Pulses per array and device of a chip over its life, by the host's journal; in like's shape."""
    counts = np.zeros_like(like)
    for chip in journal.chips():
        if chip.serial == serial:
            for array, wear in journal.wear(chip.id).items():
                counts[array] = wear.pulses.ravel()
    return counts


def faults_of(cable: subprocess.Popen[str]) -> int:
    """What an ended cable did to frames and bits."""
    counts = json.loads(cable.stdout.read()) if cable.stdout else {}
    kinds = ("dropped", "duplicated", "flipped", "stalled", "unplugged")
    return sum(lane.get(kind, 0) for lane in counts.values() for kind in kinds)
