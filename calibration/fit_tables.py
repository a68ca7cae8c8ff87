"""Pulse and read data from elsewhere, as CSV: columns by name, SI units, one row a pulse or a read."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.device_fit import PulseTable
from firmware_protocol.messages import RESET, SET

Floats = NDArray[np.float64]

PULSE_COLUMNS = (
    "device",
    "direction",
    "volts",
    "gate_volts",
    "width_s",
    "before_siemens",
    "after_siemens",
)
SIGMA_COLUMNS = ("before_sigma", "after_sigma")
"""Optional, both or none: standard uncertainties of the readings, siemens."""
READ_COLUMNS = ("device", "siemens")
CONVERTER_COLUMN = "converter_sigma"
"""Optional: standard deviation that TIA and ADC add to one read, siemens."""

_MOST_SHOWN = 5
"""Bad lines named in one error."""
_FLUCTUATION = (0.782, -3.25)
"""Slope and offset of ln σ over ln G (µS) of one read of the median device (Mao et al. 2022; bench reads)."""
_LEAST_SIGMA = 0.05e-6
_SATURATION_US = 50.0
_DRAWS, _WAVE_SIEMENS = 16, 100e-6
"""Of errors that readings share: draws, and over how wide a range of conductance an error keeps its sign."""


@dataclass(frozen=True)
class PulseFile:
    """Pulses of a file, and the line that each comes from."""

    table: PulseTable
    lines: NDArray[np.int64]
    names: list[str]
    """Of the devices, by the table's numbers."""
    sigmas_given: bool
    """Whether the file says how well readings are known; else they are taken for single reads of the median
    device."""


@dataclass(frozen=True)
class ReadFile:
    """Repeated reads of a file, by device in the order of the file, siemens."""

    reads: dict[str, Floats]
    converter: dict[str, float] | None
    """Variance that the converter adds to a read of each device, S²; None if the file does not say."""


def read_pulses(path: Path, series_ohms: float = 0.0, reading_error: float = 0.01) -> PulseFile:
    """Read single pulses; what lies in series with a device in its readings is taken off.

    reading_error: share by which readings at like conductances may all be wrong: gain and linearity.

    Raises:
        ValueError: A column or a row is not as it should be; the text names lines and what to do.
    """
    rows = _Rows(path, PULSE_COLUMNS, SIGMA_COLUMNS)
    directions = rows.column("direction", _direction)
    volts = rows.column("volts", _between(0.0, 10.0, "V"))
    gates = rows.column("gate_volts", _between(0.0, 10.0, "V"))
    widths = rows.column("width_s", _between(1e-9, 1.0, "s"))
    before, after = (rows.column(name, _siemens) for name in ("before_siemens", "after_siemens"))
    sigmas = [_usual_sigma(read) for read in (before, after)]
    if rows.has(*SIGMA_COLUMNS):
        sigmas = [rows.column(name, _between(0.0, 1e-2, "S")) for name in SIGMA_COLUMNS]
    rows.refuse_bad()
    names, devices = np.unique(rows.texts("device"), return_inverse=True)
    table = PulseTable(
        device=devices.astype(np.int64),
        direction=directions.astype(np.int64),
        volts=volts,
        gate_volts=gates,
        width_seconds=widths,
        before=before,
        after=after,
        before_sigma=np.maximum(sigmas[0], 1e-9),
        after_sigma=np.maximum(sigmas[1], 1e-9),
        before_drawn=_shared_errors(before, reading_error),
        after_drawn=_shared_errors(after, reading_error),
    )
    own = table.without_series(np.full(len(devices), series_ohms))
    return PulseFile(own, rows.lines, [str(name) for name in names], rows.has(*SIGMA_COLUMNS))


def read_reads(path: Path) -> ReadFile:
    """Read repeated reads.

    Raises:
        ValueError: As `read_pulses`.
    """
    rows = _Rows(path, READ_COLUMNS, (CONVERTER_COLUMN,))
    siemens, sigmas = rows.column("siemens", _siemens), None
    if rows.has(CONVERTER_COLUMN):
        sigmas = rows.column(CONVERTER_COLUMN, _between(0.0, 1e-3, "S"))
    rows.refuse_bad()
    names, devices = np.unique(rows.texts("device"), return_inverse=True)
    places = {str(name): devices == place for place, name in enumerate(names)}
    return ReadFile(
        {name: siemens[place] for name, place in places.items()},
        None
        if sigmas is None
        else {name: float(np.mean(sigmas[place] ** 2)) for name, place in places.items()},
    )


class _Rows:
    """The rows of a CSV file as text, and what is wrong with them so far."""

    def __init__(self, path: Path, wanted: tuple[str, ...], optional: tuple[str, ...]) -> None:
        self._path = path
        self._bad: dict[int, str] = {}
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                head = [name.strip() for name in reader.fieldnames or ()]
                reader.fieldnames = head
                self._check_head(head, wanted, optional)
                self._rows, lines = [], []
                for row in reader:
                    self._rows.append(row)
                    lines.append(reader.line_num)
        except UnicodeDecodeError:
            raise ValueError(f"{path} is no text; save the table as CSV in UTF-8") from None
        self._head = head
        self.lines = np.array(lines, np.int64)
        if not self._rows:
            raise ValueError(f"{path} has no rows below its header")

    def _check_head(self, head: list[str], wanted: tuple[str, ...], optional: tuple[str, ...]) -> None:
        if missing := [name for name in wanted if name not in head]:
            raise ValueError(
                f"{self._path}: line 1 lacks the column{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; its first line names columns, of which {', '.join(wanted)} are wanted"
            )
        given = [name for name in optional if name in head]
        if given and len(given) < len(optional):
            raise ValueError(f"{self._path}: give both of {' and '.join(optional)}, or none")

    def has(self, *names: str) -> bool:
        return set(names) <= set(self._head)

    def texts(self, name: str) -> list[str]:
        return [(row[name] or "").strip() for row in self._rows]

    def column(self, name: str, parse: Callable[[str], float]) -> Floats:
        """Numbers of one column; NaN, and a remark, where there is none."""
        numbers = np.full(len(self._rows), np.nan)
        for place, text in enumerate(self.texts(name)):
            try:
                numbers[place] = parse(text)
            except ValueError as error:
                self._bad.setdefault(int(self.lines[place]), f"{name} {error}")
        return numbers

    def refuse_bad(self) -> None:
        """Raise ValueError if any row was bad, naming the first ones."""
        if not self._bad:
            return
        shown = [f"line {line}: {why}" for line, why in sorted(self._bad.items())[:_MOST_SHOWN]]
        more = len(self._bad) - len(shown)
        rest = f"; and {more} more" if more else ""
        raise ValueError(f"{self._path}: {'; '.join(shown)}{rest}; mend or delete these lines")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"is {text!r}, a number is wanted" if text else "is empty") from None
    if not np.isfinite(value):
        raise ValueError(f"is {text}, a finite number is wanted")
    return value


def _between(low: float, high: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = _number(text)
        if not low <= value <= high:
            raise ValueError(f"is {value:g}, {low:g} to {high:g} {unit} are possible")
        return value

    return parse


def _siemens(text: str) -> float:
    value = _number(text)
    if not -1e-4 <= value <= 1e-2:
        raise ValueError(f"is {value:g}; conductances are in siemens, 50 µS is 5e-5")
    return value


def _direction(text: str) -> float:
    try:
        return {"set": SET, "reset": RESET}[text.lower()]
    except KeyError:
        raise ValueError(f"is {text!r}, SET or RESET is wanted") from None


def _usual_sigma(read: Floats) -> Floats:
    """Of one read of a device of median loudness, siemens."""
    slope, offset = _FLUCTUATION
    us = np.clip(read * 1e6, 0.01, _SATURATION_US)
    return np.asarray(np.maximum(np.exp(slope * np.log(us) + offset) * 1e-6, _LEAST_SIGMA))


def _shared_errors(read: Floats, share: float) -> Floats:
    """Errors that like readings share: a wave over the conductance, at any phase, (draws, rows) in S."""
    phases = np.linspace(0, 1, _DRAWS, endpoint=False)[:, None]
    return np.asarray(np.sqrt(2) * share * read * np.sin(2 * np.pi * (read / _WAVE_SIEMENS + phases)))
