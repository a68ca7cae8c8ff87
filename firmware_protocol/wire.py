"""How the fields of a message become bytes: little-endian, packed, one optional tail of raw bytes.

A message is a frozen dataclass whose annotations are its layout. Fields of fixed size come first, in
order, without padding; a message may end in one `Tail`, which takes whatever the payload has left. The
same annotations yield the Python codec here and the C header (`c_header.py`).
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_type_hints


class WireError(ValueError):
    """Bytes that are no message of the class they claim to be."""


class OpClass(IntEnum):
    """What repeating a request would do; it decides how a request may be retried."""

    PURE = 0
    """No effect on the chip: may be repeated freely."""
    READ = 1
    """Reads devices: repeatable, but each execution is counted (noise draws, energy)."""
    EFFECT = 2
    """Changes devices or outputs: executed at most once, never re-sent under a new sequence number."""
    SETTING = 4
    """Permits or sets something on the board: harmless when repeated, but not for who may only read."""
    SAFE = 3
    """Brings the chip to its safe state: always accepted, bypasses sequence, window and fault."""


@dataclass(frozen=True)
class Scalar:
    """One integer; `code` is its `struct` letter."""

    code: str

    @property
    def format(self) -> str:
        """`struct` format of the field."""
        return self.code


@dataclass(frozen=True)
class Vector:
    """A fixed number of integers."""

    code: str
    count: int

    @property
    def format(self) -> str:
        """`struct` format of the field."""
        return f"{self.count}{self.code}"


@dataclass(frozen=True)
class Chars:
    """Text in UTF-8, padded with NUL to `count` bytes."""

    count: int

    @property
    def format(self) -> str:
        """`struct` format of the field."""
        return f"{self.count}s"


@dataclass(frozen=True)
class Rest:
    """All remaining bytes of the payload; only the last field may be one."""

    format: ClassVar[str] = ""


Kind = Scalar | Vector | Chars | Rest

U8 = Annotated[int, Scalar("B")]
U16 = Annotated[int, Scalar("H")]
U32 = Annotated[int, Scalar("I")]
U64 = Annotated[int, Scalar("Q")]
I32 = Annotated[int, Scalar("i")]
U16x16 = Annotated[tuple[int, ...], Vector("H", 16)]
U32x8 = Annotated[tuple[int, ...], Vector("I", 8)]
U64x8 = Annotated[tuple[int, ...], Vector("Q", 8)]
Text16 = Annotated[str, Chars(16)]
Text32 = Annotated[str, Chars(32)]
Text64 = Annotated[str, Chars(64)]
Tail = Annotated[bytes, Rest()]


@dataclass(frozen=True)
class Layout:
    """The fields of one message class and the compiled `struct` of its fixed part."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    fixed: struct.Struct
    has_tail: bool
    plain: bool
    """Whether every fixed field is a scalar, so that values need no conversion."""


_LAYOUTS: "dict[type[Message], Layout]" = {}


def layout(message: "type[Message]") -> Layout:
    """The byte layout that a message's annotations declare; worked out once per class."""
    found = _LAYOUTS.get(message)
    if found is None:
        found = _LAYOUTS[message] = _measure(message)
    return found


def _measure(message: "type[Message]") -> Layout:
    hints = get_type_hints(message, include_extras=True)
    names = tuple(f.name for f in fields(message))
    kinds: tuple[Kind, ...] = tuple(hints[name].__metadata__[0] for name in names)
    if any(isinstance(kind, Rest) for kind in kinds[:-1]):
        raise TypeError(f"{message.__name__}: only the last field may be a tail")
    has_tail = bool(kinds) and isinstance(kinds[-1], Rest)
    return Layout(
        names=names,
        kinds=kinds,
        fixed=struct.Struct("<" + "".join(kind.format for kind in kinds)),
        has_tail=has_tail,
        plain=all(isinstance(kind, Scalar | Rest) for kind in kinds),
    )


@dataclass(frozen=True)
class Message:
    """One request or reply; subclasses declare fields and their opcode."""

    OPCODE: ClassVar[int]

    def pack(self) -> bytes:
        """The payload bytes of this message.

        Raises:
            ValueError: A field's value does not fit the field.
        """
        shape = layout(type(self))
        values = [getattr(self, name) for name in shape.names]
        tail = values.pop() if shape.has_tail else b""
        if not shape.plain:
            values = _flatten(shape.kinds, values)
        try:
            return shape.fixed.pack(*values) + bytes(tail)
        except struct.error as error:
            raise ValueError(f"{type(self).__name__}: {error}") from None

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """The message that `payload` holds.

        Raises:
            WireError: The payload is not of this message's length, or its text is no UTF-8.
        """
        shape = layout(cls)
        size = shape.fixed.size
        if len(payload) < size or (len(payload) > size and not shape.has_tail):
            raise WireError(f"{cls.__name__} takes {size} bytes, not {len(payload)}")
        flat = shape.fixed.unpack_from(payload)
        values = list(flat) if shape.plain else _gather(cls.__name__, shape.kinds, flat)
        if shape.has_tail:
            values.append(bytes(payload[size:]))
        return cls(*values)


ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True)
class Request(Message, Generic[ReplyT]):
    """What the host asks; answered by `REPLY`, or by a `Refusal`."""

    CLASS: ClassVar[OpClass]
    REPLY: ClassVar[type[Message]]


def _flatten(kinds: Sequence[Kind], values: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for kind, value in zip(kinds, values, strict=False):
        if isinstance(kind, Vector):
            if len(value) != kind.count:
                raise ValueError(f"{kind.count} numbers wanted, {len(value)} given")
            flat.extend(value)
        elif isinstance(kind, Chars):
            flat.append(_encoded(value, kind.count))
        else:
            flat.append(value)
    return flat


def _encoded(text: str, count: int) -> bytes:
    """The longest prefix of `text` whose UTF-8 form fits in `count` bytes."""
    return text.encode()[:count].decode(errors="ignore").encode()


def _gather(name: str, kinds: Sequence[Kind], flat: Sequence[Any]) -> list[Any]:
    values: list[Any] = []
    at = 0
    for kind in kinds:
        if isinstance(kind, Vector):
            values.append(tuple(flat[at : at + kind.count]))
            at += kind.count
        elif isinstance(kind, Chars):
            try:
                values.append(flat[at].rstrip(b"\0").decode())
            except UnicodeDecodeError:
                raise WireError(f"{name}: text is no UTF-8") from None
            at += 1
        elif isinstance(kind, Scalar):
            values.append(flat[at])
            at += 1
    return values


def describe(message: type[Message]) -> str:
    """One canonical line on a message's layout; the schema hash is taken over these lines."""
    shape = layout(message)
    kinds = (kind.format or "tail" for kind in shape.kinds)
    columns = ", ".join(f"{name}:{kind}" for name, kind in zip(shape.names, kinds, strict=True))
    opclass = message.CLASS.name if issubclass(message, Request) else "REPLY"
    return f"{message.OPCODE:02x} {opclass} {message.__name__}({columns})"


def schema_hash(messages: Sequence[type[Message]]) -> int:
    """A 32-bit fingerprint of all layouts: two sides with the same hash read each other's bytes alike."""
    text = "\n".join(sorted(describe(message) for message in messages))
    return zlib.crc32(text.encode())
