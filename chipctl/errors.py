"""What can go wrong, divided by who must act; each kind has its own exit status for the command line.

A `ValueError` is the caller's: it is raised before a byte is sent, and its exit status is 2. Everything
else is below. The tens digit of an exit status names the part, as the tens digit of a device's status
does: 1x link, 2x protocol, 3x argument, 4x state, 5x hardware, 6x internal; 1 is a result that is not good.
"""

from firmware_protocol.messages import Refusal
from firmware_protocol.status import Executed, Status


class ChipctlError(Exception):
    """Something did not work; the message is one line that says what to do.

    Raised as it is when the result is not good although nothing failed: a digit is not recalled.
    """

    exit_status: int = 1


class LinkError(ChipctlError):
    """The cable, or what is at its other end: no such port, unplugged, nonsense instead of frames."""

    exit_status = 10


class LinkTimeout(LinkError, TimeoutError):  # noqa: N818
    """No answer, however often asked, to a request that does no harm: a board that hangs, a dead line."""

    exit_status = 11


class PortBusy(LinkError):  # noqa: N818
    """Another process has the port: a second chipctl, a terminal program, ModemManager."""

    exit_status = 12


class OutcomeUnknown(LinkError):  # noqa: N818
    """An effect was sent and no answer came: it happened once or not at all.

    Raised when the board is reset or unplugged between a pulse and its reply. Do not send it again: ask
    the board for its log (`Chip.op_log`), read the devices concerned, go on from what they show.
    """

    exit_status = 13

    def __init__(self, message: str, completed: int = 0) -> None:
        self.completed = completed
        """Requests of the same pipeline before it, all answered."""
        super().__init__(message)


class ProtocolError(ChipctlError):
    """Host and firmware do not fit: another major version, other message layouts, an answer that is none."""

    exit_status = 20


class DeviceError(ChipctlError):
    """The board refused: a code out of range, no lease, a latched fault, a converter that does not answer."""

    def __init__(self, status: int, refusal: Refusal, asked: str = "request") -> None:
        self.status = Status(status) if status in set(Status) else Status.INTERNAL
        """Why."""
        self.executed = Executed(min(refusal.executed, Executed.PARTIAL))
        """Whether anything was carried out."""
        self.done = refusal.done
        """Elements completed, where `executed` is partial."""
        self.reason = refusal.reason
        """The board's own words."""
        self.completed = 0
        """Requests of the same pipeline that were carried out before the refused one."""
        self.exit_status = int(self.status)
        super().__init__(f"the board refused {asked}: {self.status.name.lower()}{self._detail()}")

    def _detail(self) -> str:
        how_far = f" after {self.done} elements" if self.executed is Executed.PARTIAL else ""
        return how_far + (f" ({self.reason})" if self.reason else "")


class MadeSafe(ChipctlError):  # noqa: N818
    """Somebody asked the board for its safe state while it was being used: nothing goes on by itself."""

    exit_status = 46


class SaturationError(ChipctlError):
    """A converter was at its end, so the number says nothing: a gain too high for the current."""

    exit_status = 30


class ProgrammingError(ChipctlError):
    """Too many devices are not at their targets after write-and-verify; `report` says which."""

    def __init__(self, message: str, report: object = None) -> None:
        self.report = report
        super().__init__(message)
