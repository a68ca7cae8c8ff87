"""Write-and-verify from the host, for boards that cannot: by the same rule, one batch of pulses at a time."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chipctl.board import Region
from chipctl.errors import DeviceError, LinkError, MadeSafe, ProgrammingError
from chipctl.program_report import ProgramReport, report_of
from chipctl.write_plan import Plan, plan_of
from chipctl.writing import Writing
from firmware_protocol.bulk import ProgramCodes
from firmware_protocol.jobs import JobState
from firmware_protocol.messages import RESET, SET
from firmware_protocol.write_verify import DevicePulses, Indices, Ints, WriteVerify

FEW_DEVICES = 32
"""Up to so many are read one by one; more, by the smallest rectangle that holds them. A request of its own
costs about 150 bytes on the wire, the whole array 8 kB."""


class HostWriting(Writing):
    """The host decides on every pulse. Of the board it needs `read_cells` and `pulse_map`.

    Where the outcome of a batch is not known, it is never sent again: its devices are read, and what they
    show decides what they get next.
    """

    _plan: Plan
    _rule: WriteVerify
    _mask: NDArray[np.bool_]
    _conversions = 0
    _unplaced = 0
    _cut_off = False
    """Whether an interruption came since the devices were read last."""

    def begin(self, mask: NDArray[np.bool_]) -> None:
        """Take on other devices."""
        if self.schedule.order != "rows":
            raise ValueError("the host's own loop pulses row by row: order must be 'rows'")
        self._plan = plan_of(self.chip, self.array, self.target, mask, self.schedule)
        self._rule = WriteVerify(self._plan.request, self._plan.staged, mask.size)
        self._mask, self._conversions, self._unplaced = mask, 0, 0

    def go_on(self) -> ProgramReport:
        """Read and pulse until every device is done or given up."""
        self._note_start()
        try:
            return self._to_the_end()
        except MadeSafe as error:
            report = self.add(self._known(JobState.ABORTED))
            raise ProgrammingError(f"array {self.array}: {error}", report) from None

    def _to_the_end(self) -> ProgramReport:
        rule = self._rule
        if self._cut_off:
            self._settle()
        self._read(rule.active)
        while rule.goes_on():
            for direction in (SET, RESET):
                self._give(rule.pulses(direction))
            self._read(rule.active)
        return self.add(self._known(JobState.DONE))

    def _read(self, devices: Indices) -> None:
        if devices.size:
            self._rule.take(devices, self._sums(devices))
        self._cut_off = False
        self.tell(self._rule.progress(JobState.RUNNING, self._conversions))

    def _sums(self, devices: Indices) -> Ints:
        rows, cols = np.divmod(devices, self.chip.cols)
        if devices.size <= FEW_DEVICES:
            alone = [self._cells(Region(int(r), 1, int(c), 1)) for r, c in zip(rows, cols, strict=True)]
            return np.array([sums[0, 0] for sums in alone])
        first_row, first_col = int(rows.min()), int(cols.min())
        box = Region(first_row, int(rows.max()) - first_row + 1, first_col, int(cols.max()) - first_col + 1)
        return np.asarray(self._cells(box)[rows - first_row, cols - first_col])

    def _cells(self, region: Region) -> Ints:
        request = self._plan.request
        sums, _ = self.chip.board.read_cells(self.array, request.gain, request.reads, region)
        self._conversions += sums.size * request.reads
        return sums

    def _give(self, pulses: DevicePulses) -> None:
        if not pulses.devices.size:
            return
        volt_codes, gate_codes = (np.zeros(self._mask.size, np.int64) for _ in range(2))
        volt_codes[pulses.devices], gate_codes[pulses.devices] = pulses.volt_codes, pulses.gate_codes
        shape = self._mask.shape
        try:
            given = self.chip.board.pulse_map(
                self.array,
                pulses.direction,
                pulses.width_ns,
                volt_codes.reshape(shape),
                gate_codes.reshape(shape),
            )
        except (LinkError, DeviceError, MadeSafe):
            self._rule.cut_off(pulses)
            self._cut_off = True
            raise
        self._count(given.total_pulses, given.pulses)

    def _count(self, total: int, placed: int) -> None:
        """Compare the board's count with our own; the rest is pulses whose devices are not known."""
        self._unplaced += total - placed - self._total
        self._total = total

    def _settle(self) -> None:
        """After an interruption: leave alone what was made safe, else clear the fault and count pulses."""
        board, allowed = self.chip.board, self._safes_allowed
        state = board.state()
        self._count(state.total_pulses, 0)
        if allowed is not None and state.safes > allowed:
            report = self.add(self._known(JobState.ABORTED))
            raise ProgrammingError(
                f"array {self.array}: the board was asked to be safe; it is left so", report
            )
        if state.fault:
            board.clear_fault(state.fault)

    def _known(self, outcome: JobState) -> ProgramReport:
        codes = self._rule.report()
        shaped = ProgramCodes(*(np.reshape(block, self._mask.shape) for block in vars(codes).values()))
        job = self._rule.progress(outcome, self._conversions)
        report = report_of(self.chip, self._plan.request, self._mask, self.target, job, shaped)
        return replace(report, unplaced_pulses=self._unplaced)
