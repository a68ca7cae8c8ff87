"""A fault scan of one array, on integer codes alone: the loop behind `StartScan`."""

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.jobs import JobState
from firmware_protocol.messages import RESET, SET, Job, StartScan
from firmware_protocol.plans import ScanCodes, unpack_scan
from firmware_protocol.status import Fault
from sim_chip.chip import VirtualChip
from sim_chip.guard import PulseRules, check_range
from sim_chip.pulses import PulseBatch
from sim_chip.readout import CODE_MASK, READS_PER_SLICE, check_gain


class ScanJob:
    """One scan: the extremes of every device's sums, and who has not moved yet."""

    needs_lease = True

    def __init__(self, request: StartScan, chip: VirtualChip, rules: PulseRules, staged: bytes) -> None:
        """Refused where the chip or the limits forbid a pulse of it."""
        self._request = request
        self._chip = chip
        codes = unpack_scan(staged, request.pairs)
        self._volt_codes = dict(zip((SET, RESET), codes, strict=True))
        self._gates = {SET: request.set_gate_code, RESET: request.reset_gate_code}
        self._check(rules)
        self.job_id, self.array = request.job_id, request.array
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        devices = chip.parameters.devices
        self._lowest = np.full(devices, 0xFFFF, np.int64)
        self._highest, self._last = np.zeros(devices, np.int64), np.zeros(devices, np.int64)
        self._pulses = np.zeros(devices, np.int64)
        self._round = self._conversions = 0

    def _check(self, rules: PulseRules) -> None:
        request = self._request
        check_range("job_id", request.job_id, 1, 0xFFFFFFFF)
        check_range("array", request.array, 0, self._chip.parameters.arrays - 1)
        check_gain(request.gain, self._chip)
        check_range("reads", request.reads, 1, 64)
        check_range("final_reads", request.final_reads, 1, 64)
        check_range("pairs", request.pairs, 1, 255)
        rules.check_count(2 * request.pairs + 1)
        rules.check_width(request.width_ns)
        for direction, codes in self._volt_codes.items():
            rules.check_codes(direction, codes.tolist(), [self._gates[direction]])

    def rounds(self, give: Callable[[PulseBatch], None]) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        yield from self._look(self._request.reads)
        self._note()
        for pair in range(self._request.pairs):
            for direction in (SET, RESET):
                if self.stop_wanted:
                    self.state = JobState.STOPPED
                    return
                suspects = np.flatnonzero(self._highest - self._lowest < self._request.moved)
                self._pulse(direction, pair, suspects, give)
                yield from self._look(self._request.reads)
                self._note()
                self._round += 1
        self._pulse(RESET, -1, np.arange(self._last.size), give)
        yield from self._look(self._request.final_reads)
        self.state = JobState.DONE

    def _look(self, reads: int) -> Generator[None]:
        cols, block = self._chip.parameters.cols, READS_PER_SLICE // reads
        every = np.arange(self._last.size)
        for part in np.split(every, range(block, every.size, block)):
            self._chip.set_gain(self.array, self._request.gain)
            words = self._chip.read_cells(self.array, *np.divmod(part, cols), reads)
            self._last[part] = (words.astype(np.int64) & CODE_MASK).sum(axis=1)
            self._conversions += part.size * reads
            yield

    def _note(self) -> None:
        self._lowest = np.minimum(self._lowest, self._last)
        self._highest = np.maximum(self._highest, self._last)

    def _pulse(
        self, direction: int, pair: int, chosen: NDArray[np.intp], give: Callable[[PulseBatch], None]
    ) -> None:
        if not chosen.size:
            return
        rows, cols = np.divmod(chosen, self._chip.parameters.cols)
        volts = np.full(chosen.size, self._volt_codes[direction][pair], np.uint16)
        gates = np.full(chosen.size, self._gates[direction], np.uint16)
        give(PulseBatch(self.array, direction, self._request.width_ns, rows, cols, volts, gates))
        self._pulses[chosen] += 1

    def abort(self, fault: Fault) -> None:
        """The job was ended from outside, in mid-round."""
        self.state, self.fault = JobState.ABORTED, fault

    def progress(self) -> Job:
        """How far the job is."""
        moved = int((self._highest - self._lowest >= self._request.moved).sum())
        pulses = int(self._pulses.sum())
        fields = (self._round, self._last.size, moved, 0, pulses, self._conversions)
        return Job(self.job_id, self.state, self.fault, *fields)

    def report(self) -> bytes:
        """The bytes that `StartScan` describes."""
        return ScanCodes(self._lowest, self._highest, self._last, self._pulses).pack()
