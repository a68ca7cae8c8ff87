"""The pulses and looks of a fault scan, as one job on the board or from the host: integer codes alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chipctl.chip import Chip
from chipctl.errors import ChipctlError
from chipctl.fault_map import Flags
from firmware_protocol.jobs import JobState
from firmware_protocol.messages import RESET, SET, StartScan
from firmware_protocol.plans import ScanCodes, ScanPlan
from firmware_protocol.status import Fault


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan of an array is."""

    array: int
    step: int
    steps: int
    suspects: int


Told = Callable[[ScanProgress], None] | None
"""Who is told of every step, if anybody."""


def scan_on_board(chip: Chip, request: StartScan, plan: ScanPlan, tell: Told) -> ScanCodes:
    """One job: the board pulses and looks by itself.

    Raises:
        ChipctlError: The board ended it early.
    """
    for job in chip.board.scan(request, plan.pack()):
        if tell:
            waiting = job.devices - job.verified
            tell(ScanProgress(request.array, job.round, 2 * request.pairs, waiting))
    if job.state != JobState.DONE:
        cause = Fault(job.fault).name.lower().replace("_", " ") if job.fault else "as it was asked to"
        raise ChipctlError(f"array {request.array}: the board ended the scan early: {cause}")
    return chip.board.scan_report(request.job_id)


def scan_from_host(chip: Chip, request: StartScan, plan: ScanPlan, tell: Told) -> ScanCodes:
    """The loop behind `StartScan`, run from the host: the same decisions, on the same codes."""
    return _HostScan(chip, request, plan).run(tell)


class _HostScan:
    """What every device showed so far, and what is to be done next."""

    def __init__(self, chip: Chip, request: StartScan, plan: ScanPlan) -> None:
        self._chip, self._request, self._plan = chip, request, plan
        shape = plan.chosen.shape
        self._volt_codes = {SET: plan.set_codes, RESET: plan.reset_codes}
        self._gates = {SET: request.set_gate_code, RESET: request.reset_gate_code}
        self._looks, self._total, self._squares = (np.zeros(shape, np.int64) for _ in range(3))
        self._moved, self._lowered, self._pulses = (np.zeros(shape, np.int64) for _ in range(3))
        self._last, self._lowest, self._highest, self._scatter = (np.zeros(shape, np.int64) for _ in range(4))

    def run(self, tell: Told) -> ScanCodes:
        """All of it."""
        request = self._request
        for _ in range(request.looks):
            self._look()
            self._note()
        low = self._total < request.looks * request.turning
        self._begin()
        for step in range(2 * request.pairs):
            pair, again = divmod(step, 2)
            waiting = self._waiting
            rising = waiting & (low ^ bool(again))
            self._pulse(SET, pair, rising)
            self._pulse(RESET, pair, waiting & ~rising)
            self._look()
            self._note()
            self._judge(pair)
            if tell:
                left = int(np.count_nonzero(self._waiting))
                tell(ScanProgress(request.array, step + 1, 2 * request.pairs, left))
        self._lower()
        blocks = (self._looks, self._total, self._squares, self._moved, self._lowered)
        return ScanCodes(*blocks, self._last, self._pulses)

    @property
    def _waiting(self) -> Flags:
        return np.asarray(self._plan.chosen & (self._moved == 0))

    def _look(self) -> None:
        r, board = self._request, self._chip.board
        self._last, _ = board.read_cells(r.array, r.gain, r.reads, self._chip.whole)

    def _note(self) -> None:
        self._looks += 1
        self._total += self._last
        self._squares += self._last**2

    def _begin(self) -> None:
        """What was looked at so far is what a device shows and how it scatters without pulses."""
        n = self._request.looks
        self._lowest, self._highest = self._total.copy(), self._total.copy()
        self._scatter = n * (n * self._squares - self._total**2)

    def _judge(self, pair: int) -> None:
        request, n = self._request, self._request.looks
        self._lowest = np.minimum(self._lowest, n * self._last)
        self._highest = np.maximum(self._highest, n * self._last)
        apart = self._highest - self._lowest
        moved = (apart >= n * request.moved) & (self._moved == 0)
        moved &= (n - 1) * apart**2 >= 2 * request.sigmas**2 * self._scatter
        self._moved[moved] = pair + 1
        self._looks[moved], self._total[moved] = 1, self._last[moved]
        self._squares[moved] = self._last[moved] ** 2

    def _lower(self) -> None:
        high = self._plan.chosen & (self._moved > 0)
        for pair in range(self._request.pairs if self._request.lower else 0):
            high &= self._last >= self._request.turning
            if not high.any():
                return
            self._pulse(RESET, pair, high)
            self._lowered += high
            self._look()

    def _pulse(self, direction: int, pair: int, chosen: Flags) -> None:
        if not chosen.any():
            return
        volts = np.where(chosen, self._volt_codes[direction][pair], 0)
        gates = np.where(chosen, self._gates[direction], 0)
        request = self._request
        self._chip.board.pulse_map(request.array, direction, request.width_ns, volts, gates)
        self._pulses += chosen
