"""How commands of the A0 board become text and bytes: field kinds, replies, and both ways of a message.

A message is ASCII fields joined by commas, the three-digit command first, ended by one NUL. Some carry
raw bytes: a marker of one byte and a comma come before them, and the NUL after. Numbers come back
little-endian. The board itself checks no range; what is out of range here is no command.
"""

import re
from dataclasses import dataclass, fields
from math import prod
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_MESSAGE: Final = 511
"""Bytes of a message with its NUL: with one more, the USB transfer would be no short one and not end."""

LINES: Final = 64
"""Rows, and columns, of an array."""

PORTS: Final = "ABCDEFGHJK"
"""There is no port I."""

_NUMBER = re.compile(rb"\s*([+-]?[0-9]+)")


class A0Error(ValueError):
    """Bytes that are no command or reply of the board, or a value that a command does not take."""


class Whole(NamedTuple):
    """A whole number in a range; `swapped`: its four bytes cross the wire reversed, modulo 2**32."""

    low: int
    high: int
    swapped: bool = False

    def check(self, value: Any) -> bool:
        """Whether it is such a number."""
        return isinstance(value, int | np.integer) and self.low <= int(value) <= self.high

    def text(self, value: int) -> bytes:
        """The field as sent."""
        return b"%d" % (_swapped(int(value)) if self.swapped else value)

    def value(self, text: bytes) -> int:
        """The field as the board reads it: a fraction is dropped, and what is no number is 0."""
        found = _NUMBER.match(text)
        number = int(found[1]) if found else 0
        return _swapped(number % 2**32) if self.swapped else number


class Letter(NamedTuple):
    """The letter of a port."""

    def check(self, value: Any) -> bool:
        """Whether there is such a port."""
        return isinstance(value, str) and len(value) == 1 and value in PORTS

    def text(self, value: str) -> bytes:
        """The field as sent."""
        return value.encode()

    def value(self, text: bytes) -> str:
        """The letter read."""
        return text.decode("ascii", "replace")


class Real(NamedTuple):
    """A decimal number."""

    def check(self, value: Any) -> bool:
        """Whether it is a finite one."""
        return isinstance(value, float) and value - value == 0.0

    def text(self, value: float) -> bytes:
        """The field as sent."""
        return repr(value).encode()

    def value(self, text: bytes) -> float:
        """The number read; what is none is 0."""
        try:
            return float(text)
        except ValueError:
            return 0.0


def _swapped(word: int) -> int:
    return int.from_bytes(word.to_bytes(4, "little"), "big")


Kind: TypeAlias = Whole | Letter | Real

Array: TypeAlias = Annotated[int, Whole(0, 2)]
Line: TypeAlias = Annotated[int, Whole(0, LINES - 1)]
Nibble: TypeAlias = Annotated[int, Whole(0, 0xF)]
Bit: TypeAlias = Annotated[int, Whole(0, 1)]
Code: TypeAlias = Annotated[int, Whole(0, 0xFFFF)]
Byte: TypeAlias = Annotated[int, Whole(0, 0xFF)]
Micros: TypeAlias = Annotated[int, Whole(0, 0x7FFFFFFF)]
SwappedWord: TypeAlias = Annotated[int, Whole(0, 0xFFFFFFFF, swapped=True)]
Port: TypeAlias = Annotated[str, Letter()]
Decimal: TypeAlias = Annotated[float, Real()]


@dataclass(frozen=True)
class Reply:
    """What a command is answered with: numbers (shape) of a little-endian numpy type."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes; 0 where there is no answer."""
        return np.dtype(self.dtype).itemsize * prod(self.shape)

    def pack(self, values: ArrayLike) -> bytes:
        """The bytes of values of this shape."""
        return np.asarray(values).astype(self.dtype).reshape(self.shape).tobytes()

    def unpack(self, data: bytes) -> NDArray[Any]:
        """The values that these bytes hold.

        Raises:
            A0Error: There are more or fewer than `size`.
        """
        if len(data) != self.size:
            raise A0Error(f"a reply of {self.size} bytes, not {len(data)}")
        return np.frombuffer(data, self.dtype).reshape(self.shape)


NO_REPLY: Final = Reply("u1", (0,))
HANDSHAKE: Final = b"0"
"""The whole answer of a command that only tells that it is through."""

DONE: Final = Reply("S1", ())
"""A handshake as a reply."""


@dataclass(frozen=True)
class Command:
    """One command, its fields in the order of the wire; a `payload`, where there is one, comes last.

    Raises:
        A0Error: A value is out of its range.
    """

    CODE: ClassVar[int]
    REPLY: ClassVar[Reply] = NO_REPLY
    PAYLOAD: ClassVar["Payload | None"] = None
    BY_CODE: ClassVar[dict[int, type["Command"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Command.BY_CODE[cls.CODE] = cls

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)):
            if not kind.check(getattr(self, name)):
                raise A0Error(f"{type(self).__name__}: {name} cannot be {getattr(self, name)!r}")
        if self.PAYLOAD is not None:
            self.PAYLOAD.check(type(self).__name__, self.raw)

    @property
    def reply(self) -> Reply:
        """What it is answered with."""
        return self.REPLY

    @property
    def raw(self) -> bytes:
        """Its payload; empty where it has none."""
        payload: bytes = getattr(self, "payload", b"")
        return payload

    def encode(self) -> bytes:
        """The message with its NUL.

        Raises:
            A0Error: It would be longer than `MAX_MESSAGE`.
        """
        texts = [kind.text(getattr(self, name)) for name, kind in kinds(type(self))]
        head = [b"%d" % self.CODE, *texts]
        if self.PAYLOAD is not None:
            head = [*self.PAYLOAD.with_count(head, self.raw), self.PAYLOAD.marker, self.raw]
        message = b",".join(head) + b"\0"
        if len(message) > MAX_MESSAGE:
            raise A0Error(f"{type(self).__name__} takes {len(message)} bytes, {MAX_MESSAGE} are the most")
        return message

    @classmethod
    def from_fields(cls, texts: list[bytes], payload: bytes = b"") -> Self:
        """The command of header fields as received; more than it has are ignored, as by the board.

        Raises:
            A0Error: There are fewer, or a value is out of its range.
        """
        wanted = kinds(cls)
        if len(texts) < len(wanted):
            raise A0Error(f"{cls.__name__} has {len(wanted)} fields, {len(texts)} came")
        values: list[Any] = [kind.value(text) for (_, kind), text in zip(wanted, texts, strict=False)]
        return cls(*values, *([payload] if cls.PAYLOAD is not None else []))


@dataclass(frozen=True)
class Payload:
    """Raw bytes of a command: a fixed number, or so many for each of the n in its third field."""

    marker: bytes
    fixed: int = 0
    unit: int = 0
    ends: bytes = b"\0"
    """What may come after it."""

    def header_fields(self, command: type[Command]) -> int:
        """Fields before it: the number of the command, its own, and n."""
        return 1 + len(kinds(command)) + bool(self.unit)

    def check(self, name: str, raw: bytes) -> None:
        """Refuse what the command cannot carry."""
        if self.fixed and len(raw) != self.fixed:
            raise A0Error(f"{name} carries {self.fixed} bytes, not {len(raw)}")
        if self.unit and (not raw or len(raw) % self.unit):
            raise A0Error(f"{name} carries some times {self.unit} bytes, not {len(raw)}")

    def with_count(self, head: list[bytes], raw: bytes) -> list[bytes]:
        """Header fields with n, where the command has one."""
        return [*head[:2], b"%d" % (len(raw) // self.unit), *head[2:]] if self.unit else head

    def split(self, head: list[bytes]) -> tuple[list[bytes], int]:
        """Header fields without n, and the bytes that follow it."""
        if not self.unit:
            return head, self.fixed
        return head[:2] + head[3:], self.unit * int(Whole(0, 0).value(head[2]))


_KINDS: dict[type[Command], tuple[tuple[str, Kind], ...]] = {}


def kinds(command: type[Command]) -> tuple[tuple[str, Kind], ...]:
    """Names and kinds of a command's fields in the order of the wire, without the payload."""
    found = _KINDS.get(command)
    if found is None:
        declared: list[Any] = [field for field in fields(command) if field.name != "payload"]
        found = _KINDS[command] = tuple((field.name, field.type.__metadata__[0]) for field in declared)
    return found
