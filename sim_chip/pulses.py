"""Pulses as the microcontroller gives them: checked against the limits, then one batch after another."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_protocol import bulk
from firmware_protocol.messages import Pulse, PulseMap, Sweep
from sim_chip.chip import VirtualChip
from sim_chip.guard import PulseRules, check_range, check_span
from sim_chip.readout import rectangle

_PULSES_PER_SLICE = 1 << 16
_ROUNDS_PER_SLICE = 32
"""Most pulses, and most times around all devices, between two looks at the line and the lease."""

_DWELLS_PER_SLICE = 64
"""Most steps of a staircase between two such looks."""

_SLICE_NS = 10_000_000
"""Most of the chip's time between two such looks where it is the wall's, and most that a bound on the pulses
per second is averaged over."""


@dataclass(frozen=True)
class PulseBatch:
    """One pulse for each of several devices of one array."""

    array: int
    direction: int
    width_ns: int
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    volt_codes: NDArray[np.uint16]
    gate_codes: NDArray[np.uint16]

    def parts(self, most: int) -> Iterator[Self]:
        """The same in batches of at most so many devices; at least one batch."""
        for first in range(0, max(1, self.rows.size), most):
            part = slice(first, first + most)
            volts, gates = self.volt_codes[part], self.gate_codes[part]
            yield replace(
                self, rows=self.rows[part], cols=self.cols[part], volt_codes=volts, gate_codes=gates
            )


Give = Callable[[PulseBatch, int], Generator[int, None, int]]
"""Gives every device of a batch so many pulses, in slices: yields the pulses so far, returns all."""


def same_pulse(request: Pulse, chip: VirtualChip, rules: PulseRules) -> PulseBatch:
    """The batch that `Pulse` asks for; refused where the chip or the limits forbid it."""
    check_range("array", request.array, 0, chip.parameters.arrays - 1)
    check_span("row", request.row, request.row_count, chip.parameters.rows)
    check_span("col", request.col, request.col_count, chip.parameters.cols)
    rules.check_direction(request.direction)
    rules.check_codes(request.direction, [request.volt_code], [request.gate_code])
    rules.check_width(request.width_ns)
    rules.check_count(request.count)
    rows, cols = rectangle(request.row, request.row_count, request.col, request.col_count)
    volts = np.full(rows.size, request.volt_code, np.uint16)
    gates = np.full(rows.size, request.gate_code, np.uint16)
    return PulseBatch(request.array, request.direction, request.width_ns, rows, cols, volts, gates)


def mapped_pulses(request: PulseMap, chip: VirtualChip, rules: PulseRules, staged: bytes) -> PulseBatch:
    """The batch that `PulseMap` asks for, without the devices it skips."""
    check_range("array", request.array, 0, chip.parameters.arrays - 1)
    rules.check_direction(request.direction)
    rules.check_width(request.width_ns)
    rules.check_count(1)
    codes = bulk.unpack_pulse_map(staged, chip.parameters.devices)
    volts, gates = (of_devices.astype(np.uint16) for of_devices in codes)
    chosen = np.flatnonzero((volts != 0) & (gates != 0))
    volts, gates = volts[chosen], gates[chosen]
    rules.check_codes(request.direction, np.unique(volts).tolist(), np.unique(gates).tolist())
    rows, cols = np.divmod(chosen, chip.parameters.cols)
    return PulseBatch(request.array, request.direction, request.width_ns, rows, cols, volts, gates)


def staircase(request: Sweep, chip: VirtualChip, rules: PulseRules, staged: bytes) -> NDArray[np.uint16]:
    """The voltage codes of `Sweep`, shape (steps,); refused where the chip or the limits forbid them."""
    check_range("array", request.array, 0, chip.parameters.arrays - 1)
    check_span("row", request.row, 1, chip.parameters.rows)
    check_span("col", request.col, 1, chip.parameters.cols)
    rules.check_direction(request.direction)
    codes = bulk.unpack_staircase(staged, request.steps)
    rules.check_codes(request.direction, np.unique(codes).tolist(), [request.gate_code])
    rules.check_width(request.dwell_ns)
    rules.check_count(request.steps)
    return codes.astype(np.uint16)


class Pulser:
    """The only way from a request to a device."""

    def __init__(self, chip: VirtualChip) -> None:
        self._chip = chip
        self.pulses_per_second = 0
        """Most pulses in a second of the chip's time; 0 for no bound."""
        self.follows_wall = False
        """Whether the chip's time is the wall's, and with it the lease's."""

    @property
    def total(self) -> int:
        """Pulses since the chip was made."""
        return self._chip.book.set_pulses + self._chip.book.reset_pulses

    def give(self, batch: PulseBatch, count: int = 1) -> None:
        """Give every device of the batch `count` pulses, no faster than allowed."""
        before = self._chip.clock_ns
        self._chip.pulse(
            batch.array,
            batch.rows,
            batch.cols,
            batch.direction,
            batch.volt_codes,
            batch.gate_codes,
            batch.width_ns,
            count,
        )
        self._slow_down(before, batch.rows.size * count)

    def _slow_down(self, before_ns: int, pulses: int) -> None:
        """Let time pass until `pulses` since `before_ns` are no faster than allowed."""
        if self.pulses_per_second:
            least_ns = -(-pulses * 1_000_000_000 // self.pulses_per_second)
            self._chip.advance(max(0, before_ns + least_ns - self._chip.clock_ns))

    def sweep_in_slices(
        self, request: Sweep, volt_codes: NDArray[np.uint16]
    ) -> Generator[int, None, NDArray[np.int64]]:
        """Give one device a staircase; yields the steps so far, returns a word per step."""
        words = []
        most = min(_DWELLS_PER_SLICE, self._most_pulses(request.dwell_ns))
        for first in range(0, volt_codes.size, most):
            part = volt_codes[first : first + most]
            before = self._chip.clock_ns
            found = self._chip.sweep(
                request.array,
                request.row,
                request.col,
                request.direction,
                part,
                request.gate_code,
                request.dwell_ns,
            )
            self._slow_down(before, part.size)
            words.append(found.astype(np.int64))
            yield first + part.size
        return np.concatenate(words)

    def give_in_slices(self, batch: PulseBatch, count: int) -> Generator[int, None, int]:
        """Give every device one pulse, then the next, `count` times around; yields the pulses so far."""
        most, done = self._most_pulses(batch.width_ns), 0
        around = max(1, min(_ROUNDS_PER_SLICE, most // max(1, batch.rows.size)))
        for first in range(0, count, around):
            rounds = min(around, count - first)
            for part in batch.parts(most):
                self.give(part, rounds)
                done += rounds * part.rows.size
                yield done
        return done

    def _most_pulses(self, width_ns: int) -> int:
        """Pulses in a slice: no lease and no bound on the pulses per second is exceeded by more."""
        most, timing = _PULSES_PER_SLICE, self._chip.parameters.timing
        if self.follows_wall:
            most = _SLICE_NS // (timing.pulse_setup_ns + timing.pulse_switch_ns + width_ns)
        if self.pulses_per_second:
            most = min(most, self.pulses_per_second * _SLICE_NS // 1_000_000_000)
        return max(1, most)
