"""A board by its VISA resource name, `ASRL/dev/ttyACM0::INSTR` or `TCPIP0::host::port::SOCKET`."""

import contextlib
from typing import Any

from chipctl.addresses import serial_place
from chipctl.errors import LinkError
from chipctl.ownership import Ownership

_MOST_BYTES = 65_536
_WRITE_TIMEOUT_MS = 2000
_LEAST_TIMEOUT_MS = 5
_DELIMITER = 0


def is_visa(address: str) -> bool:
    """Whether an address is a VISA resource name."""
    kind, _, rest = address.upper().partition("::")
    return (kind.startswith("ASRL") and rest == "INSTR") or (
        kind.startswith("TCPIP") and rest.endswith("::SOCKET")
    )


class VisaTransport:
    """A serial port or TCP connection through PyVISA; a read ends with a frame, never byte by byte."""

    def __init__(self, address: str) -> None:
        """Raises LinkError where PyVISA is missing, the resource does not open or its port is another's."""
        self.name = address
        try:
            import pyvisa
        except ImportError:
            raise LinkError(
                f"{address} is a VISA resource name: pip install 'chipctl[visa]', or give the port's path"
            ) from None
        place = serial_place(address)
        if place is not None:
            place.check()
        self._ownership = None if place is None else Ownership.take(address, place.path)
        try:
            self._open(pyvisa)
        except BaseException:
            self._release()
            raise

    def _open(self, pyvisa: Any) -> None:
        self._errors: tuple[type[Exception], ...] = (pyvisa.Error, OSError, ValueError)
        self._timed_out = pyvisa.constants.StatusCode.error_timeout
        try:
            self._manager = _manager(pyvisa)
            self._resource: Any = self._manager.open_resource(self.name)
        except self._errors as error:
            raise LinkError(f"{self.name} does not open: {error}") from None
        attributes = pyvisa.constants.ResourceAttribute
        self._resource.set_visa_attribute(attributes.termchar, _DELIMITER)
        self._resource.set_visa_attribute(attributes.termchar_enabled, True)

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        if self._ownership is not None:
            self._ownership.check()
        try:
            self._resource.timeout = _WRITE_TIMEOUT_MS
            self._resource.write_raw(data)
        except self._errors as error:
            raise self._gone() from error

    def read(self, timeout_s: float) -> bytes:
        """Whatever has arrived up to the end of a frame, waiting at most `timeout_s` for it."""
        try:
            self._resource.timeout = max(_LEAST_TIMEOUT_MS, timeout_s * 1e3)
            data, _ = self._resource.visalib.read(self._resource.session, _MOST_BYTES)
        except self._errors as error:
            if getattr(error, "error_code", None) == self._timed_out:
                return b""
            raise self._gone() from error
        return bytes(data)

    def _gone(self) -> LinkError:
        return LinkError(f"{self.name}: the other side is gone; check cable and power, then connect again")

    def close(self) -> None:
        """Let go of the resource."""
        try:
            self._close()
        finally:
            self._release()

    def _release(self) -> None:
        if self._ownership is not None:
            self._ownership.release()

    def _close(self) -> None:
        with contextlib.suppress(*self._errors):
            self._resource.close()
        with contextlib.suppress(*self._errors):
            self._manager.close()


def _manager(pyvisa: Any) -> Any:
    """The system's VISA library, or PyVISA's own in Python where there is none."""
    try:
        return pyvisa.ResourceManager()
    except (OSError, ValueError):
        return pyvisa.ResourceManager("@py")
