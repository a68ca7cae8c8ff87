"""A fault scan of one array, on integer codes alone: the loop behind `StartScan`."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.jobs import JobState
from firmware_protocol.messages import RESET, SET, Job, StartScan
from firmware_protocol.plans import ScanCodes, ScanPlan
from firmware_protocol.status import Fault
from sim_chip.chip import VirtualChip
from sim_chip.guard import PulseRules, check_range
from sim_chip.pulses import Give, PulseBatch
from sim_chip.readout import CODE_MASK, READS_PER_SLICE, check_gain

Flags = NDArray[np.bool_]
Sums = NDArray[np.int64]


class _Tally:
    """The looks at every device: those without a pulse, and those since it moved."""

    def __init__(self, request: StartScan, devices: int) -> None:
        self._request = request
        self.count = np.zeros(devices, np.int64)
        self.total, self.squares = np.zeros(devices, np.int64), np.zeros(devices, np.int64)
        self.moved_at = np.zeros(devices, np.int64)
        self.started_low = np.zeros(devices, np.bool_)
        self._lowest = self._highest = self._scatter = self.total

    def add(self, sums: Sums) -> None:
        """Note one look."""
        self.count = self.count + 1
        self.total = self.total + sums
        self.squares = self.squares + sums * sums

    def begin(self) -> None:
        """What was noted so far is what a device shows and how it scatters without pulses."""
        n = self._request.looks
        self._lowest = self._highest = self.total
        self._scatter = n * (n * self.squares - self.total * self.total)
        self.started_low = np.asarray(self.total < n * self._request.turning)

    def judge(self, sums: Sums, pair: int) -> None:
        """Note one look after the pulses of a pair; what moved by then begins anew."""
        self.add(sums)
        n = self._request.looks
        self._lowest = np.minimum(self._lowest, n * sums)
        self._highest = np.maximum(self._highest, n * sums)
        apart = self._highest - self._lowest
        moved = (apart >= n * self._request.moved) & (self.moved_at == 0)
        moved &= (n - 1) * apart * apart >= 2 * self._request.sigmas**2 * self._scatter
        self.moved_at[moved] = pair + 1
        self.count[moved], self.total[moved], self.squares[moved] = 1, sums[moved], sums[moved] ** 2


class ScanJob:
    """One scan."""

    needs_lease = True

    def __init__(self, request: StartScan, chip: VirtualChip, rules: PulseRules, staged: bytes) -> None:
        """Refused where the chip or the limits forbid a pulse of it."""
        self._request = request
        self._chip = chip
        shape = chip.parameters.rows, chip.parameters.cols
        plan = ScanPlan.unpack(staged, request.pairs, shape)
        self._volt_codes = {SET: plan.set_codes, RESET: plan.reset_codes}
        self._gates = {SET: request.set_gate_code, RESET: request.reset_gate_code}
        self._chosen = plan.chosen.ravel()
        self._check(rules)
        self.job_id, self.array = request.job_id, request.array
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        devices = chip.parameters.devices
        self._tally = _Tally(request, devices)
        self._last, self._pulses = np.zeros(devices, np.int64), np.zeros(devices, np.int64)
        self._lowered = np.zeros(devices, np.int64)
        self._round = self._conversions = 0

    def _check(self, rules: PulseRules) -> None:
        request = self._request
        check_range("job_id", request.job_id, 1, 0xFFFFFFFF)
        check_range("array", request.array, 0, self._chip.parameters.arrays - 1)
        check_gain(request.gain, self._chip)
        check_range("reads", request.reads, 1, 64)
        check_range("looks", request.looks, 2, 64)
        check_range("pairs", request.pairs, 1, 255)
        check_range("lower", request.lower, 0, 1)
        rules.check_count((2 + request.lower) * request.pairs)
        rules.check_width(request.width_ns)
        for direction, codes in self._volt_codes.items():
            rules.check_codes(direction, codes.tolist(), [self._gates[direction]])

    def rounds(self, give: Give) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        for _ in range(self._request.looks):
            yield from self._look()
            self._tally.add(self._last)
        self._tally.begin()
        steps = [(pair, turn) for pair in range(self._request.pairs) for turn in (False, True)]
        for pair, turn in steps:
            if self.stop_wanted:
                self.state = JobState.STOPPED
                return
            waiting = self._chosen & (self._tally.moved_at == 0)
            rising = waiting & (self._tally.started_low ^ turn)
            yield from self._pulse(SET, pair, rising, give)
            yield from self._pulse(RESET, pair, waiting & ~rising, give)
            yield from self._look()
            self._tally.judge(self._last, pair)
            self._round += 1
        yield from self._lower(give)
        self.state = JobState.DONE

    def _lower(self, give: Give) -> Generator[None]:
        high = self._chosen & (self._tally.moved_at > 0)
        for pair in range(self._request.pairs if self._request.lower else 0):
            high &= self._last >= self._request.turning
            if not high.any():
                return
            yield from self._pulse(RESET, pair, high, give)
            self._lowered[high] += 1
            yield from self._look()

    def _look(self) -> Generator[None]:
        request = self._request
        cols, block = self._chip.parameters.cols, READS_PER_SLICE // request.reads
        every = np.arange(self._last.size)
        for part in np.split(every, range(block, every.size, block)):
            self._chip.set_gain(self.array, request.gain)
            words = self._chip.read_cells(self.array, *np.divmod(part, cols), request.reads)
            self._last[part] = (words.astype(np.int64) & CODE_MASK).sum(axis=1)
            self._conversions += part.size * request.reads
            yield

    def _pulse(self, direction: int, pair: int, chosen: Flags, give: Give) -> Generator[None]:
        devices = np.flatnonzero(chosen)
        if not devices.size:
            return
        rows, cols = np.divmod(devices, self._chip.parameters.cols)
        volts = np.full(devices.size, self._volt_codes[direction][pair], np.uint16)
        gates = np.full(devices.size, self._gates[direction], np.uint16)
        batch = PulseBatch(self.array, direction, self._request.width_ns, rows, cols, volts, gates)
        before = 0
        for given in give(batch, 1):
            self._pulses[devices[before:given]] += 1
            before = given
            yield

    def abort(self, fault: Fault) -> None:
        """The job was ended from outside, in mid-round."""
        self.state, self.fault = JobState.ABORTED, fault

    def progress(self) -> Job:
        """How far the job is."""
        moved = int(np.count_nonzero(self._tally.moved_at))
        pulses = int(self._pulses.sum())
        fields = (self._round, int(np.count_nonzero(self._chosen)), moved, 0, pulses, self._conversions)
        return Job(self.job_id, self.state, self.fault, *fields)

    def report(self) -> bytes:
        """The bytes that `StartScan` describes."""
        tally = self._tally
        blocks = (tally.count, tally.total, tally.squares, tally.moved_at, self._lowered)
        return ScanCodes(*blocks, self._last, self._pulses).pack()
