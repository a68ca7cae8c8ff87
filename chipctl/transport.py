"""Bytes to and from a board: serial port, TCP, or a virtual chip in this process."""

import contextlib
import os
import queue
import select
import socket
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from chipctl.addresses import ADDRESSES, SerialPlace, serial_place
from chipctl.doorbell import Doorbell
from chipctl.errors import LinkError, PortBusy
from chipctl.ownership import NATIVE, Ownership
from chipctl.recording import Replay, recorded
from chipctl.visa import VisaTransport, is_visa

WRITE_TIMEOUT_S = 2.0
_CONNECT_TIMEOUT_S = 3.0
_SLICE_S = 0.05
_MOST_BYTES = 65536


class Transport(Protocol):
    """A byte stream to a board. One thread uses it."""

    name: str
    """For messages to people: the address."""

    def write(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            LinkError: The other side is gone or takes no bytes.
        """
        ...

    def read(self, timeout_s: float) -> bytes:
        """Whatever has arrived, waiting at most `timeout_s` for its first byte; b"" if nothing did.

        Raises:
            LinkError: The other side is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the port, in bounded time; nothing happens the second time."""
        ...


def open_transport(address: str, protocol: str = NATIVE) -> Transport:
    """Open what `address` names, to speak `protocol` there.

    A path (`/dev/ttyACM0`, `COM3`) is a serial port, `serial://A1B2` the one of the USB device with that
    serial number, `socket://host:port` is TCP, `sim://?preset=good&seed=7`
    a virtual chip in this process, `replay://FILE` a record of one, `ASRL…::INSTR` and
    `TCPIP0::host::port::SOCKET` a VISA resource; other URLs are pySerial's
    (`spy:///dev/ttyACM0`, `rfc2217://…`). Inside `chipctl.recording.recording` every frame is recorded.

    Raises:
        ValueError: This is no address.
        PortBusy: Another process has the port.
        LinkError: There is nothing at this address, or no permission.
    """
    return recorded(_open(address, protocol))


def _open(address: str, protocol: str) -> Transport:
    scheme = address.partition("://")[0]
    if address.lower().startswith("a0+"):
        raise ValueError(f"{address!r}: an A0 board's address begins with a0+, in small letters, and once")
    if is_visa(address):
        return VisaTransport(address)
    if place := serial_place(address):
        return _open_serial(address, place, protocol)
    if scheme == "replay":
        return Replay(address)
    if scheme == "socket":
        return TcpTransport(address)
    for endpoint in entry_points(group="chipctl.endpoints", name=scheme):
        transport: Transport = endpoint.load()(address)
        return transport
    if scheme in _pyserial_schemes():
        return _open_serial(address, SerialPlace(address, Path(address)), protocol)
    raise ValueError(f"{address}: nobody here serves {scheme}://; {ADDRESSES}")


class SerialTransport:
    """A serial port through pySerial, read by a thread of its own so that neither side blocks the other."""

    def __init__(self, name: str, port: serial.Serial, ownership: Ownership | None = None) -> None:
        self.name = name
        self._port = port
        self._ownership = ownership
        self._arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._gone: Exception | None = None
        self._closing = False
        self._writing = threading.Lock()
        self._doorbell = None
        if ownership is not None:  # what is asked here is asked in native frames
            write = self._send if ownership.protocol == NATIVE else None
            self._doorbell = Doorbell(ownership.socket, name, write)
        self._reader = threading.Thread(target=self._collect, name=f"reader of {name}", daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        try:
            while not self._closing:
                data = self._port.read(1)
                if data:
                    data += self._port.read(self._port.in_waiting)
                    self._arrived.put(data)
                    if self._doorbell is not None:
                        self._doorbell.hear(data)
        except (OSError, TypeError, ValueError) as error:
            self._gone = error
            self._arrived.put(b"")

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        self._check()
        if self._ownership is not None:
            self._ownership.check()
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            with self._writing:
                self._port.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(
                f"{self.name} takes no bytes: is the board running, and is this its port?"
            ) from None
        except (OSError, TypeError) as error:
            raise _gone(self.name) from error

    def read(self, timeout_s: float) -> bytes:
        """Whatever has arrived, waiting at most `timeout_s` for its first byte."""
        try:
            data = self._arrived.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            data = b""
        if not data:
            self._check()
        return data

    def _check(self) -> None:
        if self._gone is not None or self._closing:
            raise _gone(self.name) from self._gone

    def close(self) -> None:
        """Let go of the port, in bounded time."""
        if self._closing:
            return
        self._closing = True
        if self._doorbell is not None:
            self._doorbell.close()
        self._reader.join(10 * _SLICE_S)
        with contextlib.suppress(OSError):
            self._port.close()
        if self._ownership is not None:
            self._ownership.release()


class TcpTransport:
    """A plain TCP connection, `socket://host:port`, without delay for small frames."""

    def __init__(self, address: str) -> None:
        self.name = address
        host, port = _host_and_port(address)
        try:
            self._socket = socket.create_connection((host, port), _CONNECT_TIMEOUT_S)
        except socket.gaierror:
            raise LinkError(f"{address}: no computer is called {host}; check the name") from None
        except ConnectionRefusedError:
            raise LinkError(
                f"{address}: {host} is there, but nothing listens on port {port}; start the board's server"
            ) from None
        except OSError as error:
            raise LinkError(f"{address}: {error.strerror or error}; check host, port and network") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(WRITE_TIMEOUT_S)

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise LinkError(f"{self.name} takes no bytes: is the board running?") from None
        except OSError as error:
            raise _gone(self.name) from error

    def read(self, timeout_s: float) -> bytes:
        """Whatever has arrived, waiting at most `timeout_s` for its first byte."""
        try:
            if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
                return b""
            data = self._socket.recv(_MOST_BYTES)
        except (OSError, ValueError) as error:
            raise _gone(self.name) from error
        if not data:
            raise _gone(self.name)
        return data

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _gone(name: str) -> LinkError:
    return LinkError(f"{name}: the other side is gone; check cable and power, then connect again")


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ValueError(f"{address} is no TCP address; write socket://HOST:PORT, as socket://localhost:5025")
    return host, port


def _pyserial_schemes() -> set[str]:
    folder = Path(serial.__file__).parent / "urlhandler"
    return {path.stem.removeprefix("protocol_") for path in folder.glob("protocol_*.py")}


def _open_serial(address: str, place: SerialPlace, protocol: str) -> SerialTransport:
    place.check()
    ownership = Ownership.take(address, place.path, protocol) if place.path.is_absolute() else None
    try:
        port = serial.serial_for_url(
            place.url, place.baud, timeout=_SLICE_S, write_timeout=WRITE_TIMEOUT_S, exclusive=True
        )
    except (OSError, ValueError) as error:
        if ownership is not None:
            ownership.release()
        raise _cannot_open(address, place.path, error) from None
    with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
        port.set_low_latency_mode(True)
    return SerialTransport(address, port, ownership)


def _cannot_open(address: str, path: Path, error: Exception) -> Exception:
    """What to tell a person about a port that does not open."""
    if isinstance(error, ValueError):
        return ValueError(f"{address!r} is no address ({error}); {ADDRESSES}")
    if "://" not in address and not path.exists():
        return LinkError(f"{address}: no such port; {_ports_found()}")
    if "exclusively lock" in str(error):
        return PortBusy(f"{address} is in use by another program; close it (`fuser {path}` names it)")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return LinkError(
            f"{address}: no permission; join its group (sudo usermod -aG dialout $USER) and log in again"
        )
    if path.exists() and ("configure port" in str(error) or not path.is_char_device()):
        return LinkError(f"{address} is not a serial device; {_ports_found()}")
    return LinkError(f"{address} does not open: {error}")


def _ports_found() -> str:
    ports = [port.device for port in list_ports.comports() if port.hwid != "n/a"]
    return (
        f"ports found: {', '.join(ports)}" if ports else "no serial port was found: is the board plugged in?"
    )
