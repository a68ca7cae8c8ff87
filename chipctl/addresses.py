"""Which serial port of this computer an address names, by whatever name."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from serial.tools import list_ports

from chipctl.errors import LinkError

DEFAULT_BAUD = 115200
"""USB ports ignore it; a real UART is addressed as `/dev/ttyS0?baud=3000000`."""

ADDRESSES = (
    "an address is a serial port (/dev/ttyACM0), socket://HOST:PORT, or sim://?preset=good&seed=7 "
    "for a virtual chip in this process"
)

_VISA = re.compile(r"ASRL(/.+)::INSTR", re.IGNORECASE)
_TERMINALS = Path("/dev/pts")


@dataclass(frozen=True)
class SerialPlace:
    """A serial port, and how to open it."""

    url: str
    """As pySerial takes it."""
    path: Path
    """Absolute where there is such a file."""
    baud: int = DEFAULT_BAUD

    def check(self) -> None:
        """Refuse the link of a server that was killed, whose terminal is another program's by now.

        The numbers of pseudo-terminals are given anew; a terminal younger than the link to it is not the one
        that the link was made for.

        Raises:
            LinkError: It is one.
        """
        with contextlib.suppress(FileNotFoundError):
            is_terminal = self.path.is_symlink() and self.path.resolve().parent == _TERMINALS
            if is_terminal and self.path.stat().st_ctime_ns > self.path.lstat().st_mtime_ns:
                raise LinkError(
                    f"{self.path}: the server that made this port has ended, and its terminal is another "
                    "program's by now; start the server again"
                )


def serial_place(address: str) -> SerialPlace | None:
    """The serial port that is meant by a path, `spy://PATH`, `serial://NUMBER` or `ASRL…::INSTR`.

    None if the address is of another kind.

    Raises:
        ValueError: This is no address.
        LinkError: No port has this serial number.
    """
    if visa := _VISA.fullmatch(address):
        return SerialPlace(visa[1], _absolute(visa[1]))
    scheme, separator, rest = address.partition("://")
    if separator and scheme not in ("serial", "spy"):
        return None
    url, _, query = (_device_of(rest) if scheme == "serial" and separator else address).partition("?")
    options = dict(parse_qsl(query))
    baud = options.pop("baud", str(DEFAULT_BAUD))
    if not url or not baud.isdigit() or (options and scheme != "spy"):
        raise ValueError(f"{address!r} is no address; {ADDRESSES}")
    kept = "&".join(f"{key}={value}" for key, value in options.items())
    return SerialPlace(f"{url}?{kept}" if kept else url, _absolute(url.removeprefix("spy://")), int(baud))


def _absolute(name: str) -> Path:
    path = Path(name)
    return path.absolute() if path.exists() or path.is_symlink() else path


def _device_of(rest: str) -> str:
    """The port of the USB device with this serial number, wherever it was plugged in, and its options.

    Raises:
        LinkError: There is none.
    """
    serial_number, question, query = rest.partition("?")
    for port in list_ports.comports():
        if port.serial_number == serial_number:
            return f"{port.device}{question}{query}"
    raise LinkError(f"no port has serial number {serial_number}; `chipctl list` shows those there are")
