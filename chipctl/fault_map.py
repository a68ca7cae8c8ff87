"""Which devices of an array can't be programmed, what they show, and how two such maps differ."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

Flags = NDArray[np.bool_]
Siemens = NDArray[np.float64]

CHANGED_SIGMAS = 3.0
"""A stuck device's value has changed where two maps differ by more than so many standard uncertainties."""


class FaultKind(IntEnum):
    """How a device is at fault."""

    HEALTHY = 0
    STUCK_LOW = 1
    """Does not rise."""
    STUCK_HIGH = 2
    """Does not fall from above the programmable span."""
    STUCK_BETWEEN = 3
    """Does not move from a value inside the span."""
    DEAD_LINE = 4
    """Nothing is known of it: its row, column, amplifier or converter is dead."""


STUCK_KINDS = (FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH, FaultKind.STUCK_BETWEEN)
"""Faults of single devices."""


class LineKind(StrEnum):
    """What takes whole lines away."""

    ROW = "row"
    """Not connected: its devices carry no current."""
    COL = "column"
    """Not connected."""
    AMPLIFIER = "amplifier"
    """A column's amplifier at the end of its range whatever is driven."""
    CONVERTER = "converter"
    """An ADC that answers the same for every input, and with it all its columns."""


class DeadLine(BaseModel):
    """One cause, and the lines that it takes away."""

    model_config = ConfigDict(frozen=True)

    kind: LineKind
    lines: tuple[NonNegativeInt, ...]
    """Rows of a dead row, else columns."""

    def devices(self, rows: int, cols: int) -> Flags:
        """True where a device is out of reach, shape (rows, cols)."""
        out = np.zeros((rows, cols), np.bool_)
        if self.kind is LineKind.ROW:
            out[list(self.lines)] = True
        else:
            out[:, list(self.lines)] = True
        return out

    def __str__(self) -> str:
        where = ", ".join(map(str, self.lines))
        if self.kind in (LineKind.ROW, LineKind.COL):
            return f"{self.kind} {where}"
        return f"{self.kind} of column{'s' if len(self.lines) > 1 else ''} {where}"


@dataclass(frozen=True)
class FaultMap:
    """Which devices of one array are stuck, and at what conductance. All arrays have shape (rows, cols)."""

    kinds: NDArray[np.uint8]
    """`FaultKind` per device."""
    conductance: Siemens
    """Siemens as read at the read voltage; 0 on a dead line, NaN where healthy."""
    uncertainty: Siemens = None  # type: ignore[assignment]
    """Standard uncertainty of `conductance`; NaN where not known."""
    noisy: Flags = None  # type: ignore[assignment]
    """Devices, stuck or not, whose single reads scatter beyond what the scan allows."""
    slow: Flags = None  # type: ignore[assignment]
    """Devices that move, but only at voltages beyond the ordinary."""
    lines: tuple[DeadLine, ...] = ()

    def __post_init__(self) -> None:
        defaults = {"uncertainty": np.nan, "noisy": False, "slow": False}
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(self.kinds.shape, value))

    @classmethod
    def none(cls, rows: int, cols: int) -> Self:
        """A map that names no device."""
        return cls(np.zeros((rows, cols), np.uint8), np.full((rows, cols), np.nan))

    @property
    def stuck(self) -> Flags:
        """True where a device is named, by itself or by its line: not to be pulsed."""
        return np.not_equal(self.kinds, FaultKind.HEALTHY)

    @property
    def on_dead_line(self) -> Flags:
        """True where a device is out of reach."""
        return np.equal(self.kinds, FaultKind.DEAD_LINE)

    def count(self) -> int:
        """Number of devices named."""
        return int(np.count_nonzero(self.kinds))

    def counts(self) -> dict[str, int]:
        """Number of devices of each kind of fault by its name in small letters; dead lines are lines."""
        found = {kind.name.lower(): int(np.count_nonzero(self.kinds == kind)) for kind in STUCK_KINDS}
        noisy, slow = int(np.count_nonzero(self.noisy)), int(np.count_nonzero(self.slow))
        return found | {"noisy": noisy, "slow": slow, "dead_lines": len(self.lines)}


@dataclass(frozen=True)
class FaultChanges:
    """How a map differs from an earlier one; flags of shape (rows, cols)."""

    new: Flags
    """Stuck now, and was not."""
    healed: Flags
    """Was stuck, and is not."""
    changed: Flags
    """Stuck in both at values that differ beyond their uncertainties."""
    new_lines: tuple[DeadLine, ...]
    healed_lines: tuple[DeadLine, ...]

    def counts(self) -> dict[str, int]:
        """How many of each."""
        flags = {name: int(np.count_nonzero(getattr(self, name))) for name in ("new", "healed", "changed")}
        return flags | {"new_lines": len(self.new_lines), "healed_lines": len(self.healed_lines)}


def fault_changes(before: FaultMap, after: FaultMap) -> FaultChanges:
    """What became of the faults between two scans; devices on a dead line in either are left out."""
    known = ~(before.on_dead_line | after.on_dead_line)
    was, now = before.stuck & known, after.stuck & known
    both = was & now
    sigma = np.hypot(np.nan_to_num(before.uncertainty), np.nan_to_num(after.uncertainty))
    with np.errstate(invalid="ignore"):
        apart = np.abs(after.conductance - before.conductance) > CHANGED_SIGMAS * sigma
    gone = tuple(line for line in before.lines if line not in after.lines)
    come = tuple(line for line in after.lines if line not in before.lines)
    return FaultChanges(now & ~was, was & ~now, both & apart, come, gone)


class StuckDevice(BaseModel):
    """One entry of a fault map in a file."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(ge=0)
    col: int = Field(ge=0)
    kind: FaultKind
    siemens: float
    uncertainty: float | None = None
    """Standard, siemens."""


class KeptFaults(BaseModel):
    """A fault map as it is kept in a file."""

    model_config = ConfigDict(extra="forbid")

    scanned: datetime | None = None
    """When the fault map was taken; None if it never was."""
    stuck: list[StuckDevice] = []
    noisy: list[tuple[NonNegativeInt, NonNegativeInt]] = []
    """Row and column of each."""
    slow: list[tuple[NonNegativeInt, NonNegativeInt]] = []
    dead_lines: list[DeadLine] = []

    def fault_map(self, rows: int, cols: int) -> FaultMap:
        """The map of an array of this geometry.

        Raises:
            IndexError: It names a device or a line that the array has not.
        """
        faults = replace(FaultMap.none(rows, cols), lines=tuple(self.dead_lines))
        for line in self.dead_lines:
            faults.kinds[line.devices(rows, cols)] = FaultKind.DEAD_LINE
        faults.conductance[faults.on_dead_line] = 0.0
        for device in self.stuck:
            place = device.row, device.col
            faults.kinds[place], faults.conductance[place] = device.kind, device.siemens
            if device.uncertainty is not None:
                faults.uncertainty[place] = device.uncertainty
        for flags, places in ((faults.noisy, self.noisy), (faults.slow, self.slow)):
            for place in places:
                flags[place] = True
        return faults

    def take(self, faults: FaultMap) -> None:
        """Keep this map, taken now, in place of the one before."""
        self.scanned = datetime.now(UTC)
        self.stuck = [
            StuckDevice(
                row=int(row),
                col=int(col),
                kind=FaultKind(faults.kinds[row, col]),
                siemens=float(faults.conductance[row, col]),
                uncertainty=_finite(faults.uncertainty[row, col]),
            )
            for row, col in np.argwhere(np.isin(faults.kinds, STUCK_KINDS))
        ]
        self.noisy, self.slow = _places(faults.noisy), _places(faults.slow)
        self.dead_lines = list(faults.lines)


def _places(flags: Flags) -> list[tuple[int, int]]:
    return [(int(row), int(col)) for row, col in np.argwhere(flags)]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
