"""Everything about a chip that changes or was planted, as flat arrays in one buffer.

The buffer is a file when the state is mapped: what an operation has written stays written
whatever happens to the process. Layout: 8 bytes magic, 8 bytes length of the JSON header, the
header (parameters and seed), padding to 4096, then the fields in order, little-endian.
"""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from sim_chip.book import Count, EnergyCause, TimeCause
from sim_chip.parameters import (
    ChipParameters,
    ConverterParameters,
    EnergyParameters,
    FaultShares,
    FluctuationParameters,
    RelaxationParameters,
    Spread,
    SwitchingParameters,
    TimingParameters,
    WireParameters,
)

_MAGIC = b"SIMCHIP1"
_ALIGN = 4096
_RECORDS = (
    Spread,
    SwitchingParameters,
    FluctuationParameters,
    RelaxationParameters,
    WireParameters,
    ConverterParameters,
    TimingParameters,
    EnergyParameters,
    FaultShares,
    ChipParameters,
)


def _layout(parameters: ChipParameters) -> list[tuple[str, str, tuple[int, ...]]]:
    arrays, rows, cols = parameters.arrays, parameters.rows, parameters.cols
    each = (arrays, rows * cols)
    return [
        ("units", "<i4", each),
        ("pulse_count", "<u4", each),
        ("event_count", "<u4", each),
        ("read_count", "<u4", each),
        ("relaxing", "u1", each),
        ("kinds", "u1", each),
        ("flags", "u1", each),
        ("array_ns", "<i8", (arrays,)),
        ("product_count", "<i8", (arrays,)),
        ("gain", "u1", (arrays,)),
        ("rails", "<u2", (16,)),
        ("dead_rows", "u1", (arrays, rows)),
        ("dead_cols", "u1", (arrays, cols)),
        ("stuck_adcs", "<i2", (arrays, 4)),
        ("railed_tias", "u1", (arrays, cols)),
        ("counts", "<i8", (len(Count),)),
        ("time_ns", "<i8", (len(TimeCause),)),
        ("energy_aj", "<i8", (len(EnergyCause),)),
        ("solved_units", "<i4", each),
        ("solved_milliohms", "<i8", (arrays,)),
        ("solved", "<i4", each),
        ("solved_all_on", "<i2", each),
    ]


@dataclass
class ChipState:
    """Flat arrays of a chip's state, views into one buffer.

    Per device, shape (arrays, devices): units (10 pS, as the last pulse left it), relaxing (moved
    since the array's last pause), pulse_count, event_count, read_count, kinds, flags. solved_* hold
    the last wire solution and what it was made for, so that a restored chip never solves again.
    """

    parameters: ChipParameters
    seed: int
    buffer: Any
    units: NDArray[np.int32]
    pulse_count: NDArray[np.uint32]
    event_count: NDArray[np.uint32]
    read_count: NDArray[np.uint32]
    relaxing: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    array_ns: NDArray[np.int64]
    product_count: NDArray[np.int64]
    gain: NDArray[np.uint8]
    rails: NDArray[np.uint16]
    dead_rows: NDArray[np.uint8]
    dead_cols: NDArray[np.uint8]
    stuck_adcs: NDArray[np.int16]
    railed_tias: NDArray[np.uint8]
    counts: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    energy_aj: NDArray[np.int64]
    solved_units: NDArray[np.int32]
    solved_milliohms: NDArray[np.int64]
    solved: NDArray[np.int32]
    solved_all_on: NDArray[np.int16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, replacing it only when complete."""
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        with partial.open("wb") as file:
            file.write(self.buffer)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)


def _views(parameters: ChipParameters, seed: int, buffer: Any, start: int) -> ChipState:
    views: dict[str, Any] = {}
    for name, kind, shape in _layout(parameters):
        count = int(np.prod(shape))
        views[name] = np.frombuffer(buffer, dtype=kind, count=count, offset=start).reshape(shape)
        start += -(-views[name].nbytes // 64) * 64
    return ChipState(parameters, seed, buffer, **views)


def _size(parameters: ChipParameters) -> int:
    return sum(
        -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64 for _, kind, shape in _layout(parameters)
    )


def blank(parameters: ChipParameters, seed: int, path: str | os.PathLike[str] | None = None) -> ChipState:
    """Make a zeroed state, in memory or mapped to a new file at `path`."""
    header = json.dumps({"seed": seed, "parameters": asdict(parameters)}).encode()
    start = -(-(16 + len(header)) // _ALIGN) * _ALIGN
    size = start + _size(parameters)
    buffer: Any
    if path is None:
        buffer = bytearray(size)
    else:
        with Path(path).open("xb+") as file:
            file.truncate(size)
            buffer = mmap.mmap(file.fileno(), size)
    buffer[16 : 16 + len(header)] = header
    buffer[8:16] = len(header).to_bytes(8, "little")
    buffer[:8] = _MAGIC
    return _views(parameters, seed, buffer, start)


def load(path: str | os.PathLike[str], *, mapped: bool = False) -> ChipState:
    """Read a state file; with `mapped`, go on writing into it."""
    buffer: Any
    if mapped:
        with Path(path).open("rb+") as file:
            buffer = mmap.mmap(file.fileno(), 0)
    else:
        buffer = bytearray(Path(path).read_bytes())
    if buffer[:8] != _MAGIC:
        raise ValueError(f"{os.fspath(path)} is not the state of a virtual chip")
    length = int.from_bytes(buffer[8:16], "little")
    header = json.loads(bytes(buffer[16 : 16 + length]))
    parameters = _revive(ChipParameters, header["parameters"])
    start = -(-(16 + length) // _ALIGN) * _ALIGN
    if len(buffer) != start + _size(parameters):
        raise ValueError(f"{os.fspath(path)} is cut short or of another version")
    return _views(parameters, header["seed"], buffer, start)


def _revive(record: Any, values: dict[str, Any]) -> Any:
    """Build a parameter dataclass from its JSON form."""
    hints = get_type_hints(record)
    made = {}
    for item in fields(record):
        value, kind = values[item.name], hints[item.name]
        if kind in _RECORDS:
            value = _revive(kind, value)
        made[item.name] = tuple(value) if isinstance(value, list) else value
    return record(**made)
