"""States of a job and verdicts on a device, as numbers on the wire."""

from enum import IntEnum


class JobState(IntEnum):
    """How a job stands."""

    NONE = 0
    RUNNING = 1
    DONE = 2
    """Ran to its own end."""
    STOPPED = 3
    """Ended early on request, after a whole round."""
    ABORTED = 4
    """Ended in mid-round by `Safe` or by a fault."""


class Verdict(IntEnum):
    """How write-and-verify left one device."""

    SKIPPED = 0
    """Not selected."""
    VERIFIED = 1
    """Its last read was within tolerance."""
    LOW = 2
    """Below tolerance when the job ended."""
    HIGH = 3
    """Above tolerance when the job ended."""
    GAVE_UP_LOW = 4
    """Below tolerance at the highest SET voltages, retries spent."""
    GAVE_UP_HIGH = 5
    """Above tolerance at the highest RESET voltages, retries spent."""


class Order(IntEnum):
    """In which order write-and-verify pulses the devices of a round."""

    ROWS = 0
    """Row by row."""
    SPREAD = 1
    """Each far from the one before, so that what one pulse leaves behind nearby fades before the next."""
