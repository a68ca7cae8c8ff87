"""Write-and-verify of one array in the microcontroller: the job behind `StartProgram`."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.jobs import JobState, Order
from firmware_protocol.messages import RESET, SET, Job, StartProgram
from firmware_protocol.status import Fault, Status
from firmware_protocol.write_verify import DevicePulses, WriteVerify, ladders
from sim_chip.chip import VirtualChip
from sim_chip.guard import PulseRules, Refused, check_range
from sim_chip.parameters import ChipParameters
from sim_chip.pulses import Give, PulseBatch
from sim_chip.readout import CODE_MASK, READS_PER_SLICE, check_gain

Indices = NDArray[np.intp]


def check_plan(plan: StartProgram, chip: VirtualChip, rules: PulseRules) -> None:
    """Refuse a plan with pulses that no limit allows, or that could never verify."""
    check_range("job_id", plan.job_id, 1, 0xFFFFFFFF)
    check_range("array", plan.array, 0, chip.parameters.arrays - 1)
    check_gain(plan.gain, chip)
    check_range("reads", plan.reads, 1, 64)
    check_range("max_rounds", plan.max_rounds, 1, 0xFFFF)
    check_range("predicts", plan.predicts, 0, 1)
    check_range("order", plan.order, 0, max(Order))
    if plan.tolerance_in > plan.tolerance_out:
        raise Refused(Status.BAD_ARGUMENT, "tolerance_in is above tolerance_out")
    rules.check_count(plan.max_rounds)
    try:
        found = ladders(plan)
    except ValueError as error:
        raise Refused(Status.BAD_ARGUMENT, str(error)) from None
    for direction, ladder in found.items():
        rules.check_codes(direction, ladder.volt_steps[[0, -1]].tolist(), ladder.gate_steps[[0, -1]].tolist())
        rules.check_width(ladder.width_ns)


class Program:
    """One write-and-verify job, in slices."""

    needs_lease = True

    def __init__(self, plan: StartProgram, shape: ChipParameters, staged: bytes) -> None:
        self.plan = plan
        self.job_id, self.array = plan.job_id, plan.array
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        self._cols = shape.cols
        self._conversions = 0
        try:
            self._rule = WriteVerify(plan, staged, shape.devices)
        except ValueError as error:
            raise Refused(Status.BAD_ARGUMENT, str(error)) from None

    def rounds(self, chip: VirtualChip, give: Give) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        rule = self._rule
        yield from self._read(rule.active, chip)
        while rule.goes_on(stop=self.stop_wanted):
            for direction in (SET, RESET):
                pulses = rule.pulses(direction)
                if pulses.devices.size:
                    yield from self._give(pulses, give)
            yield from self._read(rule.active, chip)
        self.state = JobState.STOPPED if self.stop_wanted and rule.active.size else JobState.DONE

    def abort(self, fault: Fault) -> None:
        """The job was ended from outside, in mid-round."""
        self.state = JobState.ABORTED
        self.fault = fault

    def _read(self, active: Indices, chip: VirtualChip) -> Generator[None]:
        reads = self.plan.reads
        block = READS_PER_SLICE // reads
        for part in np.split(active, range(block, active.size, block)):
            chip.set_gain(self.plan.array, self.plan.gain)
            words = chip.read_cells(self.plan.array, *np.divmod(part, self._cols), reads)
            self._rule.take(part, (words.astype(np.int64) & CODE_MASK).sum(axis=1))
            self._conversions += part.size * reads
            yield

    def _give(self, pulses: DevicePulses, give: Give) -> Generator[None]:
        given = 0
        try:
            for given in give(self._batch(pulses), 1):  # noqa: B007 - how far it came, below
                yield
        finally:
            if given < pulses.devices.size:
                self._rule.cut_off(pulses, given)

    def _batch(self, pulses: DevicePulses) -> PulseBatch:
        rows, cols = np.divmod(pulses.devices, self._cols)
        volt_codes, gate_codes = (codes.astype(np.uint16) for codes in (pulses.volt_codes, pulses.gate_codes))
        return PulseBatch(self.array, pulses.direction, pulses.width_ns, rows, cols, volt_codes, gate_codes)

    def progress(self) -> Job:
        """How far the job is."""
        return self._rule.progress(self.state, self._conversions, self.fault)

    def report(self) -> bytes:
        """The bytes that `OpenReport` describes."""
        return self._rule.report().pack()
