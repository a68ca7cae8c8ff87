"""What may be asked of a chip: arrays, pulses, widths and rails within the board's limits, as codes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from chipctl.board import Board, Region
from chipctl.converters import Dac
from firmware_protocol.messages import RESET, SET, Limits, Pulse, Sweep
from firmware_protocol.rails import Rail, window

Codes = NDArray[np.int64]

_MOST_COUNT = 0xFFFF
"""What the field of a message holds."""


class HostLimits(BaseModel):
    """Limits tighter than the board's own, for one session. Volts, seconds; None keeps the board's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set_volts: float | None = Field(None, gt=0)
    reset_volts: float | None = Field(None, gt=0)
    gate_volts: float | None = Field(None, gt=0)
    width: float | None = Field(None, gt=0)
    pulses_per_device: int | None = Field(None, gt=0)
    pulses_per_second: int | None = Field(None, gt=0)


@dataclass(frozen=True)
class PulseShape:
    """One programming pulse: device polarity is `direction`, all voltages are positive."""

    direction: int
    """`SET` raises conductance, `RESET` lowers it."""
    volts: float
    gate_volts: float
    width_seconds: float

    @property
    def width_ns(self) -> int:
        """Width in whole nanoseconds."""
        return round(self.width_seconds * 1e9)


@dataclass(frozen=True)
class Staircase:
    """DC voltages on one device, one after the other; all are positive, `direction` gives their sign."""

    row: int
    col: int
    direction: int
    volts: ArrayLike
    """Shape (steps,)."""
    gate_volts: float
    dwell_seconds: float
    """At each voltage."""


class Rules:
    """The checks that come before a request; each raises ValueError where the board would refuse."""

    def __init__(self, board: Board, dac: Dac) -> None:
        self._board = board
        self._dac = dac

    def check_array(self, array: int) -> None:
        """Refuse an array that the chip has not."""
        arrays = self._board.info.arrays
        if not 0 <= array < arrays:
            raise ValueError(f"no array {array}: this chip has arrays 0 to {arrays - 1}")

    def check_region(self, array: int, region: Region) -> None:
        """Refuse a rectangle that is empty or leaves the array."""
        self.check_array(array)
        info = self._board.info
        rows = 0 <= region.row < region.row + region.rows <= info.rows
        cols = 0 <= region.col < region.col + region.cols <= info.cols
        if not (rows and cols):
            raise ValueError(f"{region} is not inside the {info.rows}x{info.cols} devices of an array")

    def check_width(self, width_ns: int) -> None:
        """Refuse a pulse width that is not on the timer's grid, or above the limit."""
        info, most = self._board.info, self._board.limits.width_ns
        tick = info.tick_ns if width_ns <= info.fine_width_ns else info.coarse_tick_ns
        if width_ns < 1 or width_ns % tick or width_ns > most:
            raise ValueError(
                f"pulse width {width_ns} ns: the board times multiples of {info.tick_ns} ns up to "
                f"{info.fine_width_ns} ns and of {info.coarse_tick_ns} ns above, up to {most} ns"
            )

    def pulse_codes(self, direction: int, volts: ArrayLike, gate_volts: ArrayLike) -> tuple[Codes, Codes]:
        """DAC codes of pulse and gate voltages, of their shapes; none negative or above its limit."""
        limits = self._board.limits
        top = {SET: limits.set_code, RESET: limits.reset_code}[direction]
        name = {SET: "SET", RESET: "RESET"}[direction]
        return self._limited(volts, top, name), self._limited(gate_volts, limits.gate_code, "gate")

    def _limited(self, volts: ArrayLike, top: int, name: str) -> Codes:
        if np.any(np.asarray(volts) < 0):
            raise ValueError(f"{name} voltages are given as positive numbers")
        codes = np.asarray(self._dac.to_codes(volts), dtype=np.int64)
        if np.any(codes > top):
            highest, limit = float(np.max(np.asarray(volts))), float(self._dac.to_volts(top))
            raise ValueError(f"{name} voltage {highest:.3f} V is above this board's limit of {limit:.3f} V")
        return codes

    def check_pulses_per_device(self, most: int) -> None:
        """Refuse what may give one device more pulses than the limit."""
        limit = self._board.limits.pulses_per_device
        if most > limit:
            raise ValueError(f"a device may get {most} pulses: this board gives it {limit} at most at a time")

    @property
    def _most_pulses(self) -> int:
        return min(self._board.limits.pulses_per_device, _MOST_COUNT)

    def pulse(self, array: int, shape: PulseShape, region: Region, count: int) -> Pulse:
        """The request for `count` equal pulses on each device of a rectangle."""
        self.check_region(array, region)
        volt, gate = self.pulse_codes(shape.direction, shape.volts, shape.gate_volts)
        self.check_width(shape.width_ns)
        if not 1 <= count <= self._most_pulses:
            raise ValueError(f"{count} pulses: this board gives a device 1 to {self._most_pulses} at a time")
        area = region.row, region.rows, region.col, region.cols
        return Pulse(array, shape.direction, int(volt), int(gate), shape.width_ns, count, *area)

    def staircase(self, array: int, stairs: Staircase) -> tuple[Sweep, Codes]:
        """The request for a staircase, and its voltage codes, shape (steps,)."""
        self.check_region(array, Region(stairs.row, 1, stairs.col, 1))
        steps = np.asarray(stairs.volts, np.float64)
        if steps.ndim != 1 or not 1 <= steps.size <= self._most_pulses:
            raise ValueError(
                f"a staircase has 1 to {self._most_pulses} voltages in a row, not shape {steps.shape}"
            )
        codes, gate = self.pulse_codes(stairs.direction, steps, stairs.gate_volts)
        dwell_ns = round(stairs.dwell_seconds * 1e9)
        self.check_width(dwell_ns)
        return Sweep(array, stairs.direction, stairs.row, stairs.col, int(gate), dwell_ns, 0, 0), codes

    def rail_code(self, rail: Rail, volts: float) -> int:
        """DAC code of a rail, inside its window."""
        code = self._dac.to_code(volts)
        low, high = window(rail, self._board.limits)
        if not low <= code <= high:
            allowed = " to ".join(f"{float(self._dac.to_volts(end)):.3f}" for end in (low, high))
            raise ValueError(f"{rail.name} may be {allowed} V on this board, not {volts:.3f} V")
        return code

    def tightened(self, limits: HostLimits) -> Limits:
        """The board's limits, lowered to those that `limits` names; refused where one would be wider."""
        now = self._board.limits
        codes = {"set_volts": "set_code", "reset_volts": "reset_code", "gate_volts": "gate_code"}
        wanted: dict[str, Any] = {}
        for name, value in limits.model_dump(exclude_none=True).items():
            field = codes.get(name, "width_ns" if name == "width" else name)
            if name in codes:
                number = self._dac.to_code(value)
            else:
                number = round(value * 1e9) if name == "width" else int(value)
            most = getattr(now, field)
            if number > most and not (name == "pulses_per_second" and most == 0):
                shown = f"{self._dac.to_volts(most):.3f} V" if name in codes else f"{field} {most}"
                raise ValueError(f"limit {name} = {value:g} is above the board's own, {shown}")
            wanted[field] = number
        return replace(now, **wanted)
