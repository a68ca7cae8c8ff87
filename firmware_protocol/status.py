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
    AT_WORK = 15
    """A request that came again is waiting or being executed. Wait."""

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
    ABORTED = 46
    """`Safe` or a fault ended it before it was done; `executed` and `done` say how far it came."""
    MADE_SAFE = 47
    """The board was asked to be safe, which the author of this request did not know; not executed."""

    CONVERTER_TIMEOUT = 50
    """5x, the hardware: an ADC did not finish."""
    SUPPLY_OUT_OF_RANGE = 51
    """A rail is outside its window."""

    INTERNAL = 60
    """6x: the firmware failed."""


class Executed(IntEnum):
    """How much of an effect was carried out."""

    NO = 0
    YES = 1
    PARTIAL = 2
    OPEN = 3
    """Begun, and its end not recorded: under way, or cut off by a reset. In the log of effects only."""


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
    """`same-seq`; `new-seq`, the same request as a new one; `new-session`, after a hello and a look at the
    log of effects; or `never`."""


_ADVICE = {
    Status.OK: Advice("nobody", "never"),
    Status.BAD_FRAME: Advice("the cable", "same-seq"),
    Status.OUT_OF_ORDER: Advice("the host's session", "same-seq"),
    Status.STALE: Advice("the host's session", "never"),
    Status.NO_SESSION: Advice("the host's session", "new-session"),
    Status.DISCARDED: Advice("who was refused before", "new-seq"),
    Status.AT_WORK: Advice("nobody", "never"),
    Status.UNKNOWN_OPCODE: Advice("the pairing of host and firmware", "never"),
    Status.BAD_MESSAGE: Advice("the pairing of host and firmware", "never"),
    Status.VERSION_MISMATCH: Advice("the pairing of host and firmware", "never"),
    Status.SCHEMA_MISMATCH: Advice("the pairing of host and firmware", "never"),
    Status.BAD_ARGUMENT: Advice("the caller", "never"),
    Status.OVER_LIMIT: Advice("the caller", "never"),
    Status.STAGING_INCOMPLETE: Advice("the caller, by staging again", "new-seq"),
    Status.TOO_LARGE: Advice("the caller", "never"),
    Status.NOT_ARMED: Advice("the caller, by arming", "new-seq"),
    Status.BUSY: Advice("the caller, by waiting", "new-seq"),
    Status.FAULT: Advice("the operator, by clearing the fault", "new-seq"),
    Status.NO_RESULT: Advice("the caller", "never"),
    Status.READ_ONLY: Advice("the pairing of host and firmware", "never"),
    Status.NOT_COMMISSIONING: Advice("the operator, by commissioning", "new-seq"),
    Status.ABORTED: Advice("the caller, after a look at the devices", "new-seq"),
    Status.MADE_SAFE: Advice("the operator, by beginning anew", "never"),
    Status.CONVERTER_TIMEOUT: Advice("the bench", "new-seq"),
    Status.SUPPLY_OUT_OF_RANGE: Advice("the bench", "new-seq"),
    Status.INTERNAL: Advice("the firmware's authors", "never"),
}


def advice(status: Status) -> Advice:
    """Who must act on `status`, and whether to ask again."""
    return _ADVICE[status]
