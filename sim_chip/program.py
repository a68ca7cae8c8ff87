"""Write-and-verify of one array, on integer codes alone: the loop behind `StartProgram`."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_protocol import bulk
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.messages import RESET, SET, Job, StartProgram
from firmware_protocol.status import Fault, Status
from sim_chip.chip import VirtualChip
from sim_chip.guard import PulseRules, Refused, check_range
from sim_chip.parameters import ChipParameters
from sim_chip.pulses import PulseBatch
from sim_chip.readout import CODE_MASK, READS_PER_SLICE, check_gain

Codes = NDArray[np.uint16]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Ramp:
    """Voltages of a device's successive pulses in one direction: voltage by voltage, then gate by gate."""

    direction: int
    volt_codes: Codes
    gate_codes: Codes
    width_ns: int
    max_retries: int

    @property
    def levels(self) -> int:
        """Pulses from the start to the highest voltages."""
        return self.volt_codes.size * self.gate_codes.size

    def codes(self, step: NDArray[np.int64]) -> tuple[Codes, Codes]:
        """Voltage and gate of pulse number `step`, counted from 0 at the ramp's start."""
        level = np.minimum(step, self.levels - 1)
        return (
            self.volt_codes[level % self.volt_codes.size],
            self.gate_codes[level // self.volt_codes.size],
        )

    def spent(self, step: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where pulse number `step` would be one retry too many."""
        return step >= self.levels + self.max_retries


def _levels(name: str, first: int, last: int, step: int) -> Codes:
    if first > last or (step == 0 and first != last):
        raise Refused(Status.BAD_ARGUMENT, f"{name} ramp {first} to {last} by {step} leads nowhere")
    return np.arange(first, last + 1, max(step, 1)).astype(np.uint16)


def ramps(plan: StartProgram) -> dict[int, Ramp]:
    """The SET and the RESET ramp of a plan, by direction."""
    return {
        SET: Ramp(
            SET,
            _levels("SET voltage", plan.set_volt_first, plan.set_volt_last, plan.set_volt_step),
            _levels("SET gate", plan.set_gate_first, plan.set_gate_last, plan.set_gate_step),
            plan.set_width_ns,
            plan.max_retries,
        ),
        RESET: Ramp(
            RESET,
            _levels("RESET voltage", plan.reset_volt_first, plan.reset_volt_last, plan.reset_volt_step),
            _levels("RESET gate", plan.reset_gate_first, plan.reset_gate_last, plan.reset_gate_step),
            plan.reset_width_ns,
            plan.max_retries,
        ),
    }


def check_plan(plan: StartProgram, chip: VirtualChip, rules: PulseRules) -> None:
    """Refuse a plan with pulses that no limit allows, or that could never verify."""
    check_range("job_id", plan.job_id, 1, 0xFFFFFFFF)
    check_range("array", plan.array, 0, chip.parameters.arrays - 1)
    check_gain(plan.gain, chip)
    check_range("reads", plan.reads, 1, 64)
    check_range("max_rounds", plan.max_rounds, 1, 0xFFFF)
    if plan.tolerance_in > plan.tolerance_out:
        raise Refused(Status.BAD_ARGUMENT, "tolerance_in is above tolerance_out")
    rules.check_count(plan.max_rounds)
    for direction, ramp in ramps(plan).items():
        rules.check_codes(direction, ramp.volt_codes[[0, -1]].tolist(), ramp.gate_codes[[0, -1]].tolist())
        rules.check_width(ramp.width_ns)


class Program:
    """One write-and-verify job: what is known of every device, and the rounds that bring it to target."""

    needs_lease = True

    def __init__(self, plan: StartProgram, shape: ChipParameters, staged: bytes) -> None:
        devices = shape.devices
        self.plan = plan
        self.job_id, self.array = plan.job_id, plan.array
        self._cols = shape.cols
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        self._round = 0
        self._conversions = 0
        self._ramps = ramps(plan)
        self._selected, self._targets = bulk.unpack_plan(staged, devices)
        self._sums = np.zeros(devices, np.int64)
        self._was_read = np.zeros(devices, bool)
        self._gave_up = np.zeros(devices, bool)
        self._direction = np.full(devices, -1, np.int8)
        self._step = np.zeros(devices, np.int64)
        self._pulses = {SET: np.zeros(devices, np.uint16), RESET: np.zeros(devices, np.uint16)}
        self._volt_codes = np.zeros(devices, np.uint16)
        self._gate_codes = np.zeros(devices, np.uint16)

    def rounds(self, chip: VirtualChip, give: Callable[[PulseBatch], None]) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        active = np.flatnonzero(self._selected)
        while True:
            yield from self._read(active, chip)
            active = active[np.abs(self._errors()[active]) > self.plan.tolerance_in]
            if not active.size or self.stop_wanted or self._round == self.plan.max_rounds:
                break
            self._round += 1
            active = np.sort(np.concatenate([self._drive(active, d, give) for d in (SET, RESET)]))
        self.state = JobState.STOPPED if self.stop_wanted and active.size else JobState.DONE

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
            self._sums[part] = (words.astype(np.int64) & CODE_MASK).sum(axis=1)
            self._was_read[part] = True
            self._conversions += part.size * reads
            yield

    def _drive(self, active: Indices, direction: int, give: Callable[[PulseBatch], None]) -> Indices:
        """Pulse the active devices that must go in this direction; those that gave up drop out."""
        low = self._errors()[active] < 0
        chosen = active[low if direction == SET else ~low]
        ramp = self._ramps[direction]
        same = self._direction[chosen] == direction
        step = np.where(same, self._step[chosen] + 1, 0)
        spent = ramp.spent(step)
        self._gave_up[chosen[spent]] = True
        chosen, step = chosen[~spent], step[~spent]
        if not chosen.size:
            return chosen
        volt_codes, gate_codes = ramp.codes(step)
        rows, cols = np.divmod(chosen, self._cols)
        give(PulseBatch(self.plan.array, direction, ramp.width_ns, rows, cols, volt_codes, gate_codes))
        self._direction[chosen] = direction
        self._step[chosen] = step
        self._pulses[direction][chosen] += 1
        self._volt_codes[chosen] = volt_codes
        self._gate_codes[chosen] = gate_codes
        return chosen

    def _errors(self) -> NDArray[np.int64]:
        return self._sums - self._targets

    def _verified(self) -> NDArray[np.bool_]:
        return self._was_read & (np.abs(self._errors()) <= self.plan.tolerance_out)

    def progress(self) -> Job:
        """How far the job is."""
        return Job(
            job_id=self.plan.job_id,
            state=self.state,
            fault=self.fault,
            round=self._round,
            devices=int(self._selected.sum()),
            verified=int(self._verified().sum()),
            gave_up=int((self._gave_up & ~self._verified()).sum()),
            pulses=sum(int(counts.sum()) for counts in self._pulses.values()),
            reads=self._conversions,
        )

    def report(self) -> bytes:
        """The bytes that `OpenReport` describes."""
        words = (self._sums, self._pulses[SET], self._pulses[RESET], self._volt_codes, self._gate_codes)
        return bulk.ProgramCodes(*(word.astype(np.int64) for word in (*words, self._verdicts()))).pack()

    def _verdicts(self) -> NDArray[np.int64]:
        low = self._errors() < 0
        verdicts = np.where(
            self._gave_up,
            np.where(low, Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH),
            np.where(low, Verdict.LOW, Verdict.HIGH),
        )
        verdicts[self._verified()] = Verdict.VERIFIED
        verdicts[~self._selected] = Verdict.SKIPPED
        return verdicts.astype(np.int64)
