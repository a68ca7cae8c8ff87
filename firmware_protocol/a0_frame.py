"""Commands of the A0 board in bytes: one is one USB transfer; a stream is cut by what each says of itself.

In both, a command is what its first fields say, whatever follows. The board never tells that it did
not understand; `Decoder` counts it.
"""

from typing import Final

from firmware_protocol.a0 import COMMANDS
from firmware_protocol.a0_wire import MAX_MESSAGE, A0Error, Command, Payload

_TRANSFER: Final = 512
_MARKER_BYTES: Final = 2
_HEADER_BYTES: Final = 64
"""More than any command has before its payload."""


def decode(message: bytes) -> Command:
    """The command that begins `message`; what follows it is ignored, as by the board.

    Raises:
        A0Error: There is none, or a value is out of its range.
    """
    kind = _kind(message)
    if kind is None:
        raise A0Error(f"no such command: {message[:16]!r}")
    if kind.PAYLOAD is None:
        return kind.from_fields(message.partition(b"\0")[0].split(b",")[1:])
    head, start, size = _split(message, kind.PAYLOAD, kind)
    if len(message) < start + size:
        raise A0Error(f"{kind.__name__}: {size} bytes announced, {max(0, len(message) - start)} came")
    return kind.from_fields(head[1:], message[start : start + size])


def _kind(message: bytes | bytearray) -> type[Command] | None:
    digits = bytes(message[:3])
    is_number = len(digits) == 3 and digits.isdigit() and message[3:4] in (b",", b"\0", b"")
    return COMMANDS.get(int(digits)) if is_number else None


def _split(message: bytes | bytearray, payload: Payload, kind: type[Command]) -> tuple[list[bytes], int, int]:
    """Header fields without n, where the payload starts, and its size.

    Raises:
        A0Error: The header is not whole, or announces more than a message holds.
    """
    count = payload.header_fields(kind)
    *head, _ = bytes(message[:_HEADER_BYTES]).split(b",", count)
    if len(head) < count or b"\0" in b",".join(head):
        raise A0Error(f"{kind.__name__}: {count} fields before its payload, {len(head)} came")
    start = len(b",".join(head)) + 1 + _MARKER_BYTES
    head, size = payload.split(head)
    if not 0 < size <= MAX_MESSAGE - 1 - start:
        raise A0Error(f"{kind.__name__}: no message holds {size} bytes")
    return head, start, size


FILLER: Final = b"x"
"""A message of these alone says nothing and counts as none: a host ends with it what another one may have
left half sent."""


class Transfers:
    """The board's end of the USB line: one transfer is one message, over what is left of those before."""

    def __init__(self) -> None:
        self._held = bytearray(_TRANSFER)

    def feed(self, transfer: bytes) -> Command | None:
        """The command a transfer of up to `MAX_MESSAGE` bytes amounts to; None if it begins with NUL.

        Raises:
            A0Error: It is none, or longer: then the board would still be waiting.
        """
        if len(transfer) > MAX_MESSAGE:
            raise A0Error(f"a transfer of {len(transfer)} bytes; {MAX_MESSAGE} are the most")
        self._held[: len(transfer)] = transfer
        return decode(bytes(self._held)) if transfer[:1].strip(b"\0") else None


class Decoder:
    """Finds the commands in a stream; whatever is none is dropped up to the next NUL and counted."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False
        self.bad_messages = 0
        self.last_error = ""
        """What was wrong with the last of them."""

    def feed(self, data: bytes) -> list[Command]:
        """The commands that `data` completes, in order. Never raises, never holds more than one message."""
        self._held += data
        commands = []
        while message := self._next():
            try:
                commands.append(decode(message))
            except A0Error as error:
                if message.strip(FILLER) != b"\0":
                    self._complain(error)
        return commands

    def _next(self) -> bytes:
        """The bytes of the next whole message, taken out; empty if there is none."""
        while True:
            if self._skipping:
                self._skip()
            del self._held[: len(self._held) - len(self._held.lstrip(b"\0"))]
            try:
                size = self._size()
            except A0Error as error:
                self._complain(error)
                self._skipping = True
                continue
            message = bytes(self._held[:size])
            del self._held[:size]
            return message

    def _size(self) -> int:
        """Bytes of the message that the held ones begin with; 0 while that is unknown.

        Raises:
            A0Error: They begin no message.
        """
        held = self._held
        kind = _kind(held)
        if kind is None or kind.PAYLOAD is None:
            end = held.find(b"\0", 0, MAX_MESSAGE) + 1
            if not end and len(held) >= MAX_MESSAGE:
                raise A0Error(f"no NUL in {MAX_MESSAGE} bytes")
            return end
        head = bytes(held[:_HEADER_BYTES])
        if (
            head.count(b",") < kind.PAYLOAD.header_fields(kind)
            and len(head) < _HEADER_BYTES
            and b"\0" not in head
        ):
            return 0
        _, start, size = _split(held, kind.PAYLOAD, kind)
        end = start + size
        if len(held) <= end:
            return 0
        if held[end] not in kind.PAYLOAD.ends:
            raise A0Error(f"{kind.__name__}: {size} bytes announced, more came")
        return end + 1

    def _skip(self) -> None:
        """Drop bytes up to the next NUL."""
        end = self._held.find(b"\0") + 1
        self._skipping = not end
        del self._held[: end or len(self._held)]

    def _complain(self, error: A0Error) -> None:
        self.bad_messages += 1
        self.last_error = str(error)
