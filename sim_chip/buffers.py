"""The board's two buffers: what the host stages, and what it fetches."""

from crc32c import crc32c

from firmware_protocol.messages import MAX_PAYLOAD, Chunk, Result
from firmware_protocol.status import Status
from sim_chip.guard import Refused


class Staging:
    """Bytes from the host, filled from offset 0 without holes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._data = bytearray()

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()

    def put(self, offset: int, data: bytes) -> int:
        """Store a piece and tell how many bytes are filled.

        A piece at offset 0 empties the buffer first; one that would leave a hole is not stored.
        """
        if offset + len(data) > self.size:
            raise Refused(Status.TOO_LARGE, f"the staging buffer holds {self.size} bytes")
        if offset == 0:
            self._data.clear()
        if offset <= len(self._data):
            self._data[offset : offset + len(data)] = data
        return len(self._data)

    def take(self, size: int, crc: int) -> bytes:
        """The staged bytes, if they are the `size` bytes of that CRC-32C; they stay staged."""
        if len(self._data) != size:
            raise Refused(Status.STAGING_INCOMPLETE, f"{len(self._data)} bytes staged, {size} wanted")
        if crc32c(self._data) != crc:
            raise Refused(Status.STAGING_INCOMPLETE, "CRC-32C of the staged bytes differs")
        return bytes(self._data)


class ResultBuffer:
    """Bytes for the host, replaced as a whole by each request that makes a result."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._data: bytes | None = None

    def clear(self) -> None:
        """Forget everything."""
        self._data = None

    def check_fits(self, size: int) -> None:
        """Refuse a result of `size` bytes before it is measured."""
        if size > self.size:
            raise Refused(Status.TOO_LARGE, f"result of {size} bytes; the buffer holds {self.size}")

    def fill(self, data: bytes) -> Result:
        """Replace the contents; the answer's head may be cut to the frame."""
        self.check_fits(len(data))
        self._data = data
        return Result(total=len(data), crc=crc32c(data), head=data[:MAX_PAYLOAD])

    def chunk(self, offset: int, length: int) -> Chunk:
        """The piece at `offset`, shorter than `length` at the end."""
        if self._data is None:
            raise Refused(Status.NO_RESULT, "the result buffer is empty")
        if offset > len(self._data):
            raise Refused(Status.BAD_ARGUMENT, f"offset {offset}; the result has {len(self._data)} bytes")
        return Chunk(offset=offset, data=self._data[offset : offset + min(length, MAX_PAYLOAD)])
