"""Everything about a chip that changes or was planted, as flat arrays in one buffer.

The buffer is a file when the state is mapped: what an operation has written stays written
whatever happens to the process. Layout: 8 bytes magic, 8 bytes length of the JSON header, the
header (parameters and seed), padding to 4096, then, little-endian: the ledger (what every
operation touches), the journal, one block for each array (what reads and pulses move), the rest.

An operation first copies what it will touch into the journal and marks the journal open, then
works in place, then closes it. Whoever finds it open puts the copy back: an operation happened as
a whole or not at all. This holds when the process dies at any instant, as memory keeps the order
of one thread's writes; it does not cover a power cut of the computer. What a wire solution was
made for is cleared before the solution is written and set after it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from sim_chip.book import Count, EnergyCause, TimeCause
from sim_chip.converters import FIFO_DEPTH, FIFOS_PER_ARRAY
from sim_chip.parameters import (
    ChipParameters,
    ConverterParameters,
    EnergyParameters,
    FaultShares,
    FluctuationParameters,
    OverdriveParameters,
    RelaxationParameters,
    Spread,
    SwitchingParameters,
    TimingParameters,
    WearParameters,
    WireParameters,
)
from sim_chip.registers import BANKS

Bytes = NDArray[np.uint8]

_MAGIC = b"SIMCHIP4"
_ALIGN = 4096
_LINE = 64  # fields start on cache lines
_CLOSED, _OPEN = 0, 1
_RECORDS = (
    Spread,
    SwitchingParameters,
    FluctuationParameters,
    RelaxationParameters,
    OverdriveParameters,
    WearParameters,
    WireParameters,
    ConverterParameters,
    TimingParameters,
    EnergyParameters,
    FaultShares,
    ChipParameters,
)


Field = tuple[str, str, tuple[int, ...]]  # name, numpy type, shape


def _ledger(parameters: ChipParameters) -> list[Field]:
    """What every operation may touch; small."""
    arrays = parameters.arrays
    return [
        ("array_ns", "<i8", (arrays,)),
        ("product_count", "<i8", (arrays,)),
        ("test_count", "<i8", (arrays, FIFOS_PER_ARRAY)),
        ("counts", "<i8", (len(Count),)),
        ("time_ns", "<i8", (len(TimeCause),)),
        ("energy_aj", "<i8", (len(EnergyCause),)),
        ("sample_ns", "<i8", (len(parameters.converters.gain_ohms),)),
        ("supply_uv", "<i8", (1,)),
        ("rails", "<u2", (16,)),
        ("tia_words", "<u2", (arrays, parameters.cols)),
        ("automatic", "u1", (arrays,)),
        ("registers", "<u2", (arrays, 2, BANKS)),
        ("fifos", "<u2", (arrays, FIFOS_PER_ARRAY, FIFO_DEPTH)),
    ]


def _block(parameters: ChipParameters) -> list[Field]:
    """What reads (the first field) and pulses (the others) move in one array."""
    devices = (parameters.devices,)
    return [
        ("read_count", "<u4", devices),
        ("units", "<i4", devices),
        ("pulse_count", "<u4", devices),
        ("event_count", "<u4", devices),
        ("relaxing", "u1", devices),
        ("kinds", "u1", devices),
    ]


def _rest(parameters: ChipParameters) -> list[Field]:
    arrays, rows, cols = parameters.arrays, parameters.rows, parameters.cols
    each = (arrays, parameters.devices)
    return [
        ("flags", "u1", each),
        ("dead_rows", "u1", (arrays, rows)),
        ("dead_cols", "u1", (arrays, cols)),
        ("stuck_adcs", "<i2", (arrays, FIFOS_PER_ARRAY)),
        ("railed_tias", "u1", (arrays, cols)),
        ("solved_units", "<i4", each),
        ("solved_milliohms", "<i8", (arrays,)),
        ("solved", "<i4", each),
        ("solved_all_on", "<i2", each),
    ]


def _bytes(field: Field) -> int:
    _, kind, shape = field
    return -(-prod(shape) * np.dtype(kind).itemsize // _LINE) * _LINE


def _total(fields_: list[Field]) -> int:
    return sum(_bytes(field) for field in fields_)


class Journal:
    """Copies of what an operation is about to change, put back if it does not come to its end."""

    def __init__(self, marks: NDArray[np.int64], image: Bytes, ledger: Bytes, blocks: Bytes) -> None:
        self._marks = marks  # open or closed, first and last byte of the blocks that was copied
        self._image = image
        self._ledger = ledger
        self._blocks = blocks
        self.undone: Callable[[], None] = lambda: None  # called after an operation was put back

    def over(self, start: int, stop: int) -> Journal:
        """Open for an operation on the ledger and bytes start:stop of the blocks; use in `with`."""
        if self._marks[0] != _CLOSED:
            raise RuntimeError("an operation of the chip began inside another")
        held = len(self._ledger)
        self._image[:held] = self._ledger
        if stop > start:
            self._image[held : held + stop - start] = self._blocks[start:stop]
        self._marks[1] = start
        self._marks[2] = stop
        self._marks[0] = _OPEN
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._marks[0] = _CLOSED
        else:
            self.undo()
            self.undone()

    def undo(self) -> None:
        """Put back what an operation left half done, if there is one."""
        if self._marks[0] == _CLOSED:
            return
        held, start, stop = len(self._ledger), int(self._marks[1]), int(self._marks[2])
        self._ledger[:] = self._image[:held]
        self._blocks[start:stop] = self._image[held : held + stop - start]
        self._marks[0] = _CLOSED


@dataclass
class ChipState:
    """Flat arrays of a chip's state, views into one buffer.

    Per device, shape (arrays, devices): units (10 pS, as the last pulse left it), relaxing (moved
    since the array's last pause), pulse_count, event_count, read_count, kinds, flags. registers
    (arrays, rows or columns, banks) and fifos (arrays, 4, 16) as the chip has them. solved_* hold
    the last wire solution and what it was made for, so that a restored chip never solves again.
    """

    parameters: ChipParameters
    seed: int
    buffer: Any
    journal: Journal
    units: NDArray[np.int32]
    pulse_count: NDArray[np.uint32]
    event_count: NDArray[np.uint32]
    read_count: NDArray[np.uint32]
    relaxing: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    array_ns: NDArray[np.int64]
    product_count: NDArray[np.int64]
    test_count: NDArray[np.int64]
    tia_words: NDArray[np.uint16]
    automatic: NDArray[np.uint8]
    registers: NDArray[np.uint16]
    fifos: NDArray[np.uint16]
    rails: NDArray[np.uint16]
    supply_uv: NDArray[np.int64]
    sample_ns: NDArray[np.int64]
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

    def bookkeeping(self) -> Journal:
        """Begin an operation that changes only the ledger: `with state.bookkeeping(): ...`."""
        return self.journal.over(0, 0)

    def reading(self, array: int) -> Journal:
        """Begin an operation that also counts reads of an array's devices."""
        size, first = _total(_block(self.parameters)), _bytes(_block(self.parameters)[0])
        return self.journal.over(array * size, array * size + first)

    def pulsing(self, array: int) -> Journal:
        """Begin an operation that may change everything of an array's devices."""
        size = _total(_block(self.parameters))
        return self.journal.over(array * size, (array + 1) * size)

    def save(self, path: str | os.PathLike[str], *, new: bool = False) -> None:
        """Write the state to a file, replacing it only when complete; with `new`, never replacing.

        Raises:
            OSError: The place takes no file of this size, or with `new` there is one; nothing is left there.
        """
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.write(self.buffer)
                file.flush()
                os.fsync(file.fileno())
            if new:
                os.link(partial, target)
            else:
                os.replace(partial, target)
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritten(target, len(self.buffer), error) from None
        finally:
            partial.unlink(missing_ok=True)


def unwritten(path: Path, size: int, error: OSError) -> OSError:
    """What to tell a person about a file that cannot be written."""
    reason = (error.strerror or str(error)).lower()
    return OSError(f"{path} cannot be written: {reason}; it takes {size} bytes, here or at another place")


def _place(views: dict[str, Any], fields_: list[Field], buffer: Any, start: int) -> int:
    """Lay fields out one after the other; returns where they end."""
    for field in fields_:
        name, kind, shape = field
        views[name] = np.frombuffer(buffer, dtype=kind, count=prod(shape), offset=start).reshape(shape)
        start += _bytes(field)
    return start


def _views(parameters: ChipParameters, seed: int, buffer: Any, start: int) -> ChipState:
    views: dict[str, Any] = {}
    whole = np.frombuffer(buffer, dtype=np.uint8)
    held, size = _total(_ledger(parameters)), _total(_block(parameters))
    ledger = whole[start : start + held]
    start = _place(views, _ledger(parameters), buffer, start)
    marks = np.frombuffer(buffer, dtype="<i8", count=3, offset=start)
    image = whole[start + _LINE : start + _LINE + held + size]
    start += _LINE + held + size
    blocks = whole[start : start + parameters.arrays * size]
    table, offset = blocks.reshape(parameters.arrays, size), 0
    for field in _block(parameters):
        name, kind, shape = field
        views[name] = table[:, offset : offset + prod(shape) * np.dtype(kind).itemsize].view(kind)
        offset += _bytes(field)
    _place(views, _rest(parameters), buffer, start + len(blocks))
    return ChipState(parameters, seed, buffer, Journal(marks, image, ledger, blocks), **views)


def _size(parameters: ChipParameters) -> int:
    held, block = _total(_ledger(parameters)), _total(_block(parameters))
    return 2 * held + _LINE + (parameters.arrays + 1) * block + _total(_rest(parameters))


def blank(parameters: ChipParameters, seed: int) -> ChipState:
    """Make a zeroed state in memory."""
    header = json.dumps({"seed": seed, "parameters": asdict(parameters)}).encode()
    start = -(-(16 + len(header)) // _ALIGN) * _ALIGN
    buffer = bytearray(start + _size(parameters))
    buffer[16 : 16 + len(header)] = header
    buffer[8:16] = len(header).to_bytes(8, "little")
    buffer[:8] = _MAGIC
    return _views(parameters, seed, buffer, start)


def load(path: str | os.PathLike[str], *, mapped: bool = False) -> ChipState:
    """Read a state file; with `mapped`, go on writing into it. Half an operation is taken back."""
    if not mapped:
        kept = _parsed(path, bytearray(Path(path).read_bytes()))
        kept.journal.undo()
        return kept
    with Path(path).open("rb+") as file:
        kept = _parsed(path, mmap.mmap(file.fileno(), 0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # an open operation is one its owner is in the middle of
            return kept
        kept.journal.undo()
        fcntl.flock(file, fcntl.LOCK_UN)  # the mapping keeps the file open
    return kept


def _parsed(path: str | os.PathLike[str], buffer: Any) -> ChipState:
    if buffer[:8] != _MAGIC:
        raise ValueError(f"{os.fspath(path)} is not the state of a virtual chip, or of another version")
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
