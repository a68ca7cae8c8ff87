"""Bytes in, frames out: one request or reply in COBS, closed by a zero byte and guarded by CRC-32C.

    COBS( header, payload, CRC-32C over both ) 0x00

No zero byte occurs inside a frame, so a receiver that lost its place finds it again at the next zero.
The first header byte is the protocol's major version and the last four bytes are the CRC, in every
version ever; all between may change with the major. A frame of another major is therefore never
parsed, but recognised for what it is.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from cobs import cobs
from crc32c import crc32c

from firmware_protocol.messages import MAX_PAYLOAD, PROTOCOL_MAJOR
from firmware_protocol.status import Status

DELIMITER = b"\0"

_HEADER = struct.Struct("<BBBBHHHHH")
"""Major, kind, opcode, status, session, seq, ack, room, payload length."""

_CRC = struct.Struct("<I")

OVERHEAD = _HEADER.size + _CRC.size + 2
"""Bytes a frame adds to a payload of less than 230 bytes: header, CRC, one of COBS, the delimiter."""

_MIN_BODY = _HEADER.size + _CRC.size
_MAX_BODY = _MIN_BODY + MAX_PAYLOAD
MAX_ENCODED = _MAX_BODY + _MAX_BODY // 254 + 1
"""Longest run of non-zero bytes that can be a frame."""


class Kind(IntEnum):
    """What a frame is for."""

    REQUEST = 1
    """Host to board."""
    REPLY = 2
    """The board's final word on the request of the same session and sequence number."""
    NOTICE = 3
    """The board's link speaking, not the request's handler: out of order, no such session, stale."""
    SAFE_REPLY = 4
    """Answers a request of class SAFE, which stands outside every sequence."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One request, reply or notice as it crosses the wire."""

    kind: Kind
    opcode: int
    session: int
    seq: int
    ack: int = 0
    """Request: the newest reply its author knew. From the board: the newest request it has accepted."""
    room: int = 0
    """Request: most payload bytes wanted in the reply. From the board: bytes it can hold unread."""
    status: int = Status.OK
    """From the board: `Status`. Request: how many requests for safety its author knows of, modulo 256."""
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """The bytes of a frame with its closing delimiter.

    Raises:
        ValueError: The payload is over `MAX_PAYLOAD`, or a field does not fit.
    """
    payload = frame.payload
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame carries at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    try:
        body = (
            _HEADER.pack(
                PROTOCOL_MAJOR,
                frame.kind,
                frame.opcode,
                frame.status,
                frame.session,
                frame.seq,
                frame.ack,
                frame.room,
                len(payload),
            )
            + payload
        )
    except struct.error as error:
        raise ValueError(f"frame header: {error}") from None
    encoded: bytes = cobs.encode(body + _CRC.pack(crc32c(body)))
    return encoded + DELIMITER


class Decoder:
    """Finds the frames in a stream of bytes; whatever is none is dropped and counted."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self._run_bytes = 0
        self.bad_frames = 0
        """Runs of bytes between delimiters that were no frame; each `MAX_ENCODED` of one that is too long."""
        self.bytes_without = 0
        """Bytes since the last frame."""
        self.foreign_frames = 0
        """Whole frames of another major version."""
        self.foreign_major: int | None = None
        """Major version of the last of them."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Never raises, never holds more than one frame."""
        *ends, rest = data.split(DELIMITER)
        frames = []
        for run in ends:
            self._append(run)
            if self._partial:
                frame = self._decode(bytes(self._partial))
                if frame is not None:
                    frames.append(frame)
                    self.bytes_without = 0
            self._partial.clear()
            self._run_bytes = 0
        self._append(rest)
        return frames

    def _append(self, run: bytes) -> None:
        pieces = max(0, self._run_bytes - 1) // MAX_ENCODED
        self._run_bytes += len(run)
        self.bytes_without += len(run)
        if self._run_bytes > MAX_ENCODED:
            self.bad_frames += (self._run_bytes - 1) // MAX_ENCODED - pieces
            self._partial.clear()
        else:
            self._partial += run

    def _decode(self, encoded: bytes) -> Frame | None:
        try:
            body: bytes = cobs.decode(encoded)
        except cobs.DecodeError:
            body = b""
        if len(body) < _CRC.size + 1 or crc32c(body[:-4]) != _CRC.unpack_from(body, len(body) - 4)[0]:
            self.bad_frames += 1
            return None
        if body[0] != PROTOCOL_MAJOR:
            self.foreign_frames += 1
            self.foreign_major = body[0]
            return None
        return self._parse(body)

    def _parse(self, body: bytes) -> Frame | None:
        payload = body[_HEADER.size : -_CRC.size]
        if len(body) >= _MIN_BODY:
            _, kind, opcode, status, session, seq, ack, room, length = _HEADER.unpack_from(body)
            if kind in _KINDS and length == len(payload):
                return Frame(_KINDS[kind], opcode, session, seq, ack, room, status, payload)
        self.bad_frames += 1
        return None


_KINDS = {int(kind): kind for kind in Kind}
