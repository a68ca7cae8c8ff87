"""What a device answers instead of a reply: a status by decade, who must act, and what was executed."""

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """The status byte of a reply frame; the tens digit names the part that refuses."""

    OK = 0

    BAD_FRAME = 10
    """1x, the link: length or CRC wrong. Send the frame again."""
    OUT_OF_ORDER = 11
    """A frame before this one is missing. Send from the expected sequence number on."""
    STALE = 12
    """Older than the reply cache reaches; nothing was executed now."""
    NO_SESSION = 13
    """The board has no such session (it was reset, or another host said hello)."""
    DISCARDED = 14
    """A request before this one was refused while this one was already under way; not executed."""

    UNKNOWN_OPCODE = 20
    """2x, the protocol: this firmware has no such request."""
    BAD_MESSAGE = 21
    """The payload does not fit the request's layout."""
    VERSION_MISMATCH = 22
    """Another major version of the protocol."""
    SCHEMA_MISMATCH = 23
    """Other message layouts: reads only, unless forced."""

    BAD_ARGUMENT = 30
    """3x, the request: an index, count or code that the chip does not have."""
    OVER_LIMIT = 31
    """A voltage, gate, width or pulse count above the board's limits."""
    STAGING_INCOMPLETE = 32
    """The staged bytes are not the ones the request was made for."""
    TOO_LARGE = 33
    """More bytes than a buffer holds."""

    NOT_ARMED = 40
    """4x, the state: high voltage needs an armed lease."""
    BUSY = 41
    """A job is running."""
    FAULT = 42
    """A fault is latched; clear it first."""
    NO_RESULT = 43
    """There is no such result or job."""
    READ_ONLY = 44
    """The session may only read (layouts differ)."""
    NOT_COMMISSIONING = 45
    """Stored limits change only in the commissioning state."""

    CONVERTER_TIMEOUT = 50
    """5x, the hardware: an ADC did not finish."""
    SUPPLY_OUT_OF_RANGE = 51
    """A rail is outside its window."""

    INTERNAL = 60
    """6x: the firmware failed."""


class Executed(IntEnum):
    """How much of a refused request was carried out."""

    NO = 0
    YES = 1
    PARTIAL = 2


class Fault(IntEnum):
    """Why the board latched a fault and went to its safe state."""

    NONE = 0
    LEASE_LAPSED = 1
    BAD_FRAME_STORM = 2
    CONVERTER_TIMEOUT = 3
    SUPPLY_OUT_OF_RANGE = 4
    BROWN_OUT = 5
    INTERNAL = 6


class ResetCause(IntEnum):
    """Why the board's processor last started."""

    POWER_ON = 0
    WATCHDOG = 1
    BROWN_OUT = 2
    COMMAND = 3


@dataclass(frozen=True)
class Advice:
    """What a status means to the host: who must act, and whether asking again can help."""

    who: str
    retry: str
    """`same-seq`, `new-seq` or `never`."""


_BY_DECADE = {
    0: Advice("nobody", "never"),
    1: Advice("the cable", "same-seq"),
    2: Advice("the pairing of host and firmware", "never"),
    3: Advice("the caller", "never"),
    4: Advice("the operator", "new-seq"),
    5: Advice("the bench", "new-seq"),
    6: Advice("the firmware's authors", "never"),
}


def advice(status: Status) -> Advice:
    """Who must act on `status`, and whether to ask again."""
    return _BY_DECADE[status // 10]
