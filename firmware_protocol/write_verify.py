"""The rule of write-and-verify: which device gets which pulse next, on integers alone.

A board runs it in its own job (`StartProgram`), a host runs it for a board that cannot; both take the same
decisions because this is the one place where they are taken. No I/O: sums of codes in, pulses out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_protocol import bulk
from firmware_protocol.jobs import JobState, Order, Verdict
from firmware_protocol.messages import RESET, SET, Job, StartProgram
from firmware_protocol.status import Fault

Ints = NDArray[np.int64]
Indices = NDArray[np.intp]

MEMORY: Final = 4
"""Observations of a device that count: each further one replaces a quarter of what is known."""

FRACTION: Final = 16
"""A device's shift along a ladder is kept in 1/16 of a level."""

SPREAD_STRIDE: Final = 1597
"""Devices between two pulsed one after the other, modulo their number, in `Order.SPREAD`: a Fibonacci
number, so that the next ones fall far from all before; odd, so that no device of 2**n is left out."""


@dataclass(frozen=True)
class Ladder:
    """Pulses of one direction, each stronger than the one before: voltage by voltage, then gate by gate."""

    direction: int
    volt_steps: Ints
    gate_steps: Ints
    width_ns: int
    max_retries: int
    expected: Ints
    """Sum of codes that a typical device shows after a pulse of each level; empty where nothing is known."""

    @property
    def levels(self) -> int:
        """Pulses from the first to the strongest."""
        return self.volt_steps.size * self.gate_steps.size

    def codes(self, level: Ints) -> tuple[Ints, Ints]:
        """Voltage and gate codes at each level; past the last one those of the last."""
        gate, volt = np.divmod(np.minimum(level, self.levels - 1), self.volt_steps.size)
        return self.volt_steps[volt], self.gate_steps[gate]

    def spent(self, level: Ints) -> NDArray[np.bool_]:
        """Where a pulse would be one retry too many."""
        return np.greater_equal(level, self.levels + self.max_retries)

    def typical(self, sums: Ints) -> Ints:
        """The first level that takes a typical device as far as `sums`; the number of levels if none does."""
        sign = 1 if self.direction == SET else -1
        return np.searchsorted(sign * self.expected, sign * sums).astype(np.int64)


def _steps(name: str, first: int, last: int, step: int) -> Ints:
    if first > last or (step == 0 and first != last):
        raise ValueError(f"{name} ramp {first} to {last} by {step} leads nowhere")
    return np.arange(first, last + 1, max(step, 1), dtype=np.int64)


def ladders(plan: StartProgram, expected: Ints | None = None) -> dict[int, Ladder]:
    """The SET and the RESET ladder of a plan, by direction.

    Args:
        plan: The request.
        expected: Sums for every SET level, then for every RESET level, shape (levels,); none if left out.

    Raises:
        ValueError: A ramp leads nowhere, or sums do not go the way of their direction.
    """
    given = np.zeros(0, np.int64) if expected is None else expected
    volts = _steps("SET voltage", plan.set_volt_first, plan.set_volt_last, plan.set_volt_step)
    gates = _steps("SET gate", plan.set_gate_first, plan.set_gate_last, plan.set_gate_step)
    part = volts.size * gates.size
    up = Ladder(SET, volts, gates, plan.set_width_ns, plan.max_retries, given[:part])
    volts = _steps("RESET voltage", plan.reset_volt_first, plan.reset_volt_last, plan.reset_volt_step)
    gates = _steps("RESET gate", plan.reset_gate_first, plan.reset_gate_last, plan.reset_gate_step)
    down = Ladder(RESET, volts, gates, plan.reset_width_ns, plan.max_retries, given[part:])
    if np.any(np.diff(up.expected) < 0) or np.any(np.diff(down.expected) > 0):
        raise ValueError("stronger SET pulses must be expected to lead higher, stronger RESET pulses lower")
    return {SET: up, RESET: down}


def levels(plan: StartProgram) -> int:
    """SET and RESET levels of a plan together."""
    return sum(ladder.levels for ladder in ladders(plan).values())


def staged_bytes(plan: StartProgram, devices: int) -> int:
    """Length of what is staged for a plan."""
    return bulk.plan_bytes(devices, levels(plan) if plan.predicts else 0)


@dataclass(frozen=True)
class DevicePulses:
    """One pulse for each of several devices, in the order in which they are to get it; shapes (n,)."""

    direction: int
    width_ns: int
    devices: Indices
    volt_codes: Ints
    gate_codes: Ints


class _Memory:
    """What is known of every device in one direction."""

    def __init__(self, devices: int) -> None:
        self.level = np.zeros(devices, np.int64)
        """Of the last pulse."""
        self.shift = np.zeros(devices, np.int64)
        """Levels, in 1/16, that the device needs above those a typical one needs."""
        self.seen = np.zeros(devices, np.int64)
        """Observations behind it, up to `MEMORY`."""
        self.pulses = np.zeros(devices, np.int64)


class WriteVerify:
    """One write-and-verify of an array: all that is known of its devices, and what is to be done next.

    Round by round: `take` the sums of all `active` devices, ask whether it `goes_on`, then give the pulses
    of `pulses(SET)` and `pulses(RESET)`.
    """

    def __init__(self, plan: StartProgram, staged: bytes, devices: int) -> None:
        self.plan = plan
        self.selected, self.targets, expected = bulk.unpack_plan(staged, devices, bool(plan.predicts))
        self._ladders = ladders(plan, expected)
        self.active: Indices = np.flatnonzero(self.selected)
        """Devices to be read in this round, ascending."""
        self.round = 0
        self.sums = np.zeros(devices, np.int64)
        self._before = np.zeros(devices, np.int64)
        self.was_read = np.zeros(devices, np.bool_)
        self.gave_up = np.zeros(devices, np.bool_)
        self._direction = np.full(devices, -1, np.int64)
        self._wanted: dict[int, Indices] = {}
        """Devices to be pulsed in this round, by direction."""
        self._known = {SET: _Memory(devices), RESET: _Memory(devices)}
        self._volt_codes = np.zeros(devices, np.int64)
        self._gate_codes = np.zeros(devices, np.int64)

    def take(self, devices: Indices, sums: Ints) -> None:
        """Sums of codes over `reads` reads, just read, shapes (n,)."""
        self._before[devices] = self.sums[devices]
        self.sums[devices] = sums
        self.was_read[devices] = True

    def goes_on(self, *, stop: bool = False) -> bool:
        """Drop the devices that are done, now that all were read; whether there is another round."""
        if self.plan.predicts:
            for direction in (SET, RESET):
                self._learn(direction, self.active[self._direction[self.active] == direction])
        self.active = self.active[np.abs(self.errors[self.active]) > self.plan.tolerance_in]
        if stop or not self.active.size or self.round == self.plan.max_rounds:
            return False
        self.round += 1
        self._wanted = {SET: self.active[self.errors[self.active] < 0]}
        self._wanted[RESET] = self.active[self.errors[self.active] > 0]
        return True

    def _learn(self, direction: int, devices: Indices) -> None:
        """See from what the last pulse did how many levels each device lies off a typical one.

        One that did not move tells only that it needs at least so much.
        """
        ladder, known = self._ladders[direction], self._known[direction]
        gone = self.sums[devices] - self._before[devices]
        moved = (gone if direction == SET else -gone) > self.plan.tolerance_in // 2
        off = FRACTION * (known.level[devices] - ladder.typical(self.sums[devices]))
        there, found = devices[moved], off[moved]
        known.seen[there] = np.minimum(known.seen[there] + 1, MEMORY)
        difference = found - known.shift[there]
        known.shift[there] += np.sign(difference) * (np.abs(difference) // known.seen[there])
        stayed = devices[~moved]
        known.shift[stayed] = np.maximum(known.shift[stayed], off[~moved])

    def pulses(self, direction: int) -> DevicePulses:
        """The pulses of this round in one direction; devices that have had all retries give up."""
        ladder, known, chosen = self._ladders[direction], self._known[direction], self._wanted[direction]
        level = np.where(self._direction[chosen] == direction, known.level[chosen] + 1, 0)
        if self.plan.predicts:
            short = self.plan.set_short if direction == SET else 0
            wanted = ladder.typical(self.targets[chosen]) + known.shift[chosen] // FRACTION - short
            level = np.maximum(level, np.minimum(wanted, ladder.levels - 1))
        spent = ladder.spent(level)
        self.gave_up[chosen[spent]] = True
        self.active = self.active[~self.gave_up[self.active]]
        chosen, level = chosen[~spent], level[~spent]
        volt_codes, gate_codes = ladder.codes(level)
        self._direction[chosen] = direction
        known.level[chosen] = level
        known.pulses[chosen] += 1
        self._volt_codes[chosen] = volt_codes
        self._gate_codes[chosen] = gate_codes
        order = self._order(chosen)
        return DevicePulses(direction, ladder.width_ns, chosen[order], volt_codes[order], gate_codes[order])

    def _order(self, devices: Indices) -> Indices:
        if self.plan.order == Order.ROWS:
            return np.arange(devices.size)
        return np.argsort(devices * SPREAD_STRIDE % self.selected.size)

    def cut_off(self, pulses: DevicePulses, given: int = 0) -> None:
        """The round ended with these, of which no more than the first `given` are known to have been given.

        No other is counted, and nothing is learned from this round: every active device is to be read and
        judged anew.
        """
        self._known[pulses.direction].pulses[pulses.devices[given:]] -= 1
        self._direction[self.active] = -1

    @property
    def errors(self) -> Ints:
        """Last sum less target, per device."""
        return self.sums - self.targets

    @property
    def verified(self) -> NDArray[np.bool_]:
        """Devices whose last read was within the outer tolerance."""
        return self.was_read & (np.abs(self.errors) <= self.plan.tolerance_out)

    def progress(self, state: JobState, reads: int, fault: Fault = Fault.NONE) -> Job:
        """How far it is; `reads` conversions were made so far."""
        errors = self.errors[self.selected & self.was_read]
        return Job(
            job_id=self.plan.job_id,
            state=state,
            fault=fault,
            round=self.round,
            devices=int(self.selected.sum()),
            verified=int(self.verified.sum()),
            gave_up=int((self.gave_up & ~self.verified).sum()),
            pulses=sum(int(known.pulses.sum()) for known in self._known.values()),
            reads=reads,
            error_sum=int(errors.sum()),
            error_squares=int((errors * errors).sum()),
        )

    def report(self) -> bulk.ProgramCodes:
        """What became of every device, shapes (devices,)."""
        return bulk.ProgramCodes(
            self.sums,
            self._known[SET].pulses,
            self._known[RESET].pulses,
            self._volt_codes,
            self._gate_codes,
            self._verdicts(),
        )

    def _verdicts(self) -> Ints:
        low = self.errors < 0
        verdicts = np.where(
            self.gave_up,
            np.where(low, Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH),
            np.where(low, Verdict.LOW, Verdict.HIGH),
        )
        verdicts[self.verified] = Verdict.VERIFIED
        verdicts[~self.selected] = Verdict.SKIPPED
        return verdicts.astype(np.int64)
