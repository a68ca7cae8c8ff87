"""What a board keeps without power: stored limits and records of what it did, each with its CRC."""

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from crc32c import crc32c

from sim_chip.state import unwritten

_MAGIC: Final = b"SIMBOARD"
_LIMITS_AT: Final = 64
_RING_AT: Final = 512
_SLOT_BYTES: Final = 64
_SLOTS: Final = 256
_BYTES: Final = _RING_AT + _SLOTS * _SLOT_BYTES

_HEAD = struct.Struct("<IIH")
"""CRC-32C over all that follows it, place in the order of records, length of the content."""


class Damaged(Exception):  # noqa: N818 - a finding, not an error of this program
    """The CRC of a record does not fit."""


@dataclass(frozen=True)
class _Record:
    order: int
    content: bytes


class Flash:
    """A board's memory that outlives its processor; in a file it outlives the process too.

    Each record is written in one piece, so that a process that is killed leaves at most the last one torn.
    """

    def __init__(self, memory: bytearray | mmap.mmap | None = None) -> None:
        """Over `memory` as `open` made it, or blank and as short-lived as this object."""
        self._memory: bytearray | mmap.mmap = bytearray(_BYTES) if memory is None else memory
        if self._memory[: len(_MAGIC)] != _MAGIC:
            if any(self._memory[:]):
                self._write_off()
            self._memory[: len(_MAGIC)] = _MAGIC

    @classmethod
    def open(cls, path: Path) -> Self:
        """The memory in the file at `path`, blank if there is none, written off if it is something else.

        Raises:
            OSError: The place takes no such file; none is left there that was not before.
        """
        is_new = not path.exists()
        try:
            with path.open("xb+" if is_new else "rb+") as file:
                before = path.stat().st_size
                file.truncate(_BYTES)
                os.posix_fallocate(file.fileno(), 0, _BYTES)  # a full disk must not show at a later write
                flash = cls(mmap.mmap(file.fileno(), _BYTES))
        except OSError as error:
            if is_new:
                path.unlink(missing_ok=True)
            raise unwritten(path, _BYTES, error) from None
        if before not in (0, _BYTES):
            flash._write_off()
        return flash

    def _write_off(self) -> None:
        """Make every record unreadable, so that it counts as damaged and not as never written."""
        self._memory[_LIMITS_AT:_BYTES] = b"\xff" * (_BYTES - _LIMITS_AT)

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever written, or all of it is gone."""
        return not any(self._memory[_LIMITS_AT:_BYTES])

    def limits(self) -> bytes | None:
        """The stored limits; None if there are none.

        Raises:
            Damaged: They cannot be read.
        """
        record = self._read(_LIMITS_AT, _RING_AT - _LIMITS_AT)
        return record.content if record else None

    def store_limits(self, content: bytes) -> None:
        """Replace the stored limits."""
        self._write(_LIMITS_AT, _RING_AT - _LIMITS_AT, _Record(0, content))

    def records(self) -> list[tuple[int, bytes]]:
        """The last records, oldest first: place in order and content.

        One torn record is passed over where the next would be written.

        Raises:
            Damaged: Another one cannot be read, or is missing.
        """
        found: dict[int, _Record] = {}
        torn = []
        for slot in range(_SLOTS):
            try:
                record = self._read(self._at(slot), _SLOT_BYTES)
            except Damaged:
                torn.append(slot)
                continue
            if record:
                found[record.order] = record
        newest = max(found, default=-1)
        oldest = newest - len(found) + 1
        complete = oldest == 0 or len(found) >= _SLOTS - 1
        if torn not in ([], [(newest + 1) % _SLOTS]) or not complete or min(found, default=0) != oldest:
            raise Damaged("the records are damaged or incomplete")
        return [(order, found[order].content) for order in range(oldest, newest + 1)]

    def append(self, order: int, content: bytes) -> None:
        """Write a record in place of the oldest; `order` is one above the newest."""
        self._write(self._at(order % _SLOTS), _SLOT_BYTES, _Record(order, content))

    def erase_records(self) -> None:
        """Forget all records."""
        self._memory[_RING_AT:_BYTES] = bytes(_BYTES - _RING_AT)

    @staticmethod
    def _at(slot: int) -> int:
        return _RING_AT + slot * _SLOT_BYTES

    def _write(self, at: int, size: int, record: _Record) -> None:
        body = _HEAD.pack(0, record.order, len(record.content))[4:] + record.content
        data = crc32c(body).to_bytes(4, "little") + body
        if len(data) > size:
            raise ValueError(f"{len(record.content)} bytes do not fit a record of {size}")
        self._memory[at : at + len(data)] = data

    def _read(self, at: int, size: int) -> _Record | None:
        data = bytes(self._memory[at : at + size])
        if not any(data):
            return None
        crc, order, length = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        if end > size or crc32c(data[4:end]) != crc:
            raise Damaged(f"the record at byte {at} cannot be read")
        return _Record(order, data[_HEAD.size : end])
