"""Serves a virtual microcontroller on a pseudo-terminal, on TCP, or in the caller's own process."""

import errno
import os
import selectors
import signal
import socket
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from firmware_protocol.frame import DELIMITER, Decoder, Kind, encode
from firmware_protocol.messages import Safe
from sim_chip.board import Board, Setup

_READ_BYTES = 65_536
RESET_SIGNAL = signal.SIGUSR1
"""Resets the processor of the served board, as its reset button would."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, RESET_SIGNAL)
_MOST_UNREAD = 1 << 20
"""Bytes kept for a host that does not read; what comes on top is dropped, as a full USB pipe would."""


_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
)
"""Small frames go at once; a host that vanished without a word holds the board for five seconds."""


class Endpoint:
    """A virtual chip in this process: what a serial port would be, without the port.

    The microcontroller works while its caller reads; for what a board would have done while the caller
    was away, it takes as long again at the next call.
    """

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self._board = board
        self._left_s = time.monotonic()

    def write(self, data: bytes) -> None:
        """Hand bytes to the microcontroller."""
        self._catch_up()
        self._board.mcu.receive(data)
        self._left_s = time.monotonic()

    def read(self, timeout_s: float) -> bytes:
        """The bytes there are; empty when none came within `timeout_s`."""
        self._catch_up()
        deadline_s = time.monotonic() + timeout_s
        while True:
            due_s = self._board.mcu.work()
            data = self._board.mcu.transmit()
            left_s = deadline_s - time.monotonic()
            if data or left_s <= 0:
                break
            if due_s != 0.0:
                time.sleep(left_s if due_s is None else min(due_s, left_s))
        self._left_s = time.monotonic()
        return data

    def _catch_up(self) -> None:
        now_s = time.monotonic()
        end_s = now_s + (now_s - self._left_s)
        while time.monotonic() < end_s and self._board.mcu.work() == 0.0:
            pass

    def reset(self) -> None:
        """Press the board's reset button."""
        self._board.reset()

    def close(self) -> None:
        """Bring the chip to its safe state."""
        self._board.close()


def connect(address: str) -> Endpoint:
    """The virtual chip that `sim://?preset=good&seed=7&state=FILE&commission=1` names; all keys optional.

    The others are faults, conductance, profile, readback, pace, storm and board, as of `sim-chip serve`.

    Raises:
        ValueError: A key or preset that there is not, or a state file of another chip.
    """
    return Endpoint(address, Board(Setup.from_address(address)))


class _Line:
    """The far end of a line: written to as fast as it reads, never waited for."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._unsent = bytearray()
        self._decoder = Decoder()

    def read(self) -> bytes | None:
        """What has come in: None if nothing has, empty at the end of the line."""
        try:
            return os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def requests_for_safety(self, data: bytes) -> bytes:
        """What of `data` the board is to hear while another line is the host's."""
        found = [f for f in self._decoder.feed(data) if f.kind is Kind.REQUEST and f.opcode == Safe.OPCODE]
        return b"".join(DELIMITER + encode(frame) for frame in found)

    def send(self, data: bytes) -> int:
        """Send what the line takes, keep the rest; the number of bytes dropped since there is no room."""
        is_full = len(self._unsent) + len(data) > _MOST_UNREAD
        if not is_full:
            self._unsent += data
        self.flush()
        return len(data) if is_full else 0

    def flush(self) -> None:
        """Send more of what is kept."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self.fd, self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()

    @property
    def events(self) -> int:
        """What to wait for on this line."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)


class _Loop:
    """Waits for the host and lets the microcontroller work in between; idle, it sleeps.

    The first line attached is the host's; when it hangs up, the next one is.
    """

    def __init__(self, board: Board, stop: socket.socket) -> None:
        self._board = board
        self._stopped = False
        self._lines: list[_Line] = []
        self._selector = selectors.DefaultSelector()
        self._signals = stop
        self.watch(stop, self._obey)

    def watch(self, source: socket.socket, react: Callable[[], None]) -> None:
        """Call `react` when there is something to read at `source`."""
        self._selector.register(source, selectors.EVENT_READ, react)

    def attach(self, fd: int) -> None:
        """Make `fd` the line to a host, and close it in the end."""
        line = _Line(fd)
        self._lines.append(line)
        if line is self._lines[0] or not self._board.takes_turns:
            self._listen(line)

    def _listen(self, line: _Line) -> None:
        self._selector.register(line.fd, selectors.EVENT_READ, partial(self._receive, line))

    def run(self) -> None:
        """Serve until the stop socket has something to say."""
        try:
            while not self._stopped:
                due_s = self._board.mcu.work()
                self._transmit()
                for key, events in self._selector.select(due_s):
                    if events & selectors.EVENT_READ:
                        key.data()
        finally:
            for line in tuple(self._lines):
                self._detach(line)
            self._selector.close()

    def _receive(self, line: _Line) -> None:
        data = line.read()
        if data:
            self._board.mcu.receive(data if line is self._lines[0] else line.requests_for_safety(data))
        elif data is not None:
            self._detach(line)

    def _transmit(self) -> None:
        data = self._board.mcu.transmit()
        for line in self._lines[:1] if self._board.takes_turns else self._lines:
            dropped = line.send(data)
            if line is self._lines[0]:
                self._board.mcu.dropped_bytes += dropped
            watched = self._selector.get_key(line.fd)
            if watched.events != line.events:
                self._selector.modify(line.fd, line.events, watched.data)

    def _detach(self, line: _Line) -> None:
        with suppress(KeyError):
            self._selector.unregister(line.fd)
        os.close(line.fd)
        self._lines.remove(line)
        if self._lines and self._lines[0].fd not in self._selector.get_map():
            self._listen(self._lines[0])

    def _obey(self) -> None:
        """Signals arrive as bytes: one resets the board, any other ends the server."""
        numbers = self._signals.recv(_READ_BYTES)
        if set(numbers) == {RESET_SIGNAL}:
            self._board.reset()
        else:
            self._stopped = True


@contextmanager
def stop_signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of SIGTERM, SIGINT and SIGUSR1 are read; for the main thread."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = {s: signal.signal(s, lambda *_: None) for s in _SIGNALS}
        wakeup = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def serve_pty(board: Board, path: Path, stop: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve on a new pseudo-terminal that a symbolic link at `path` leads to, until `stop`.

    Raises:
        FileExistsError: `path` is something else, or another server's link.
    """
    with ExitStack() as stack:
        ours, theirs = os.openpty()
        stack.callback(os.close, theirs)
        tty.setraw(theirs)
        stack.enter_context(_link(path, os.ttyname(theirs)))
        loop = _Loop(board, stop)
        loop.attach(ours)
        ready(str(path))
        loop.run()


@contextmanager
def _link(path: Path, target: str) -> Iterator[None]:
    """A symbolic link at `path`, ours alone; a link that a killed server left is replaced."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {path.parent}")
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(f"{path} belongs to another running sim-chip") from None
    try:
        if os.path.lexists(path) and not (path.is_symlink() and os.readlink(path).startswith("/dev/pts/")):
            raise FileExistsError(f"{path} exists and is no link of ours; choose another path")
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.symlink_to(target)
        os.utime(fresh, ns=2 * (time.time_ns(),), follow_symlinks=False)  # younger than the terminal
        fresh.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def serve_tcp(
    board: Board, address: tuple[str, int], stop: socket.socket, ready: Callable[[str], None]
) -> None:
    """Serve one host after another at (name, port), until `stop`; port 0 takes a free one.

    Others that connect meanwhile wait for their turn. Until then the board hears nothing of them but
    requests that it be safe.

    Raises:
        OSError: The port is in use, or the name is not one of this computer's.
    """
    with _listening(address) as listener:
        loop = _Loop(board, stop)

        def accept() -> None:
            connection, _ = listener.accept()
            for level, option, value in _SOCKET_OPTIONS:
                connection.setsockopt(level, option, value)
            loop.attach(connection.detach())

        loop.watch(listener, accept)
        ready("{}:{}".format(*listener.getsockname()[:2]))
        loop.run()


def _listening(address: tuple[str, int]) -> socket.socket:
    place = "{}:{}".format(*address)
    try:
        return socket.create_server(address)
    except socket.gaierror:
        raise OSError(f"this computer has no name or address {address[0]!r}; try localhost") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                f"{place} is in use by another program; choose another port, or 0 for a free one"
            ) from None
        raise OSError(f"cannot listen on {place}: {error.strerror}") from None
