"""Pulses as the microcontroller gives them: checked against the limits, then one batch after another."""

from collections.abc import Generator
from dataclasses import dataclass

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
        for first in range(0, volt_codes.size, _DWELLS_PER_SLICE):
            part = volt_codes[first : first + _DWELLS_PER_SLICE]
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
        around = max(1, min(_ROUNDS_PER_SLICE, _PULSES_PER_SLICE // max(1, batch.rows.size)))
        for first in range(0, count, around):
            self.give(batch, min(around, count - first))
            yield min(first + around, count) * batch.rows.size
        return count * batch.rows.size
