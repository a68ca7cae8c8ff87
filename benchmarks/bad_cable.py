"""A bad cable as a process: a port in front of a board's port, with faults and a line rate.

    python -m benchmarks.bad_cable /tmp/cable /tmp/board --drop 0.2 --flip 1e-5 --seed 3
    python -m benchmarks.bad_cable /tmp/cable localhost:7000 --bytes-per-second 11520
    python -m benchmarks.bad_cable localhost:0 localhost:7000 --unplug-bytes 30000 --back-s 3

Both directions are damaged alike. A cable keeps order: what is late holds up all that follows. On SIGTERM
it prints what it did, as JSON. Where the host's port is it says on stderr, whenever there is one.
"""

import argparse
import json
import os
import random
import select
import signal
import socket
import sys
import time
import tty
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, log
from pathlib import Path

PACKET_BYTES = 64
"""What crosses at once where the line has a rate: a full-speed USB packet, some milliseconds of a UART."""

_MOST_UNREAD = 1 << 20
_LOOK_S = 0.2
"""Nothing is waited for longer at once: a signal that comes just before a wait is not seen until it ends."""


@dataclass(frozen=True)
class Troubles:
    """What goes wrong, per frame and per bit; and how fast the line is."""

    drop: float = 0.0
    """Share of frames lost."""
    duplicate: float = 0.0
    flip: float = 0.0
    """Share of bits that arrive wrong."""
    stall: float = 0.0
    """Share of frames before which the line is still for `stall_s`."""
    stall_s: float = 0.3
    unplug_bytes: float = inf
    """Mean number of bytes after which both ends are closed, in the middle of a frame or not."""
    back_s: float = 1.0
    """Longest time until it is plugged in again."""
    bytes_per_second: float = inf
    latency_s: float = 0.0
    seed: int = 0


class Lane:
    """One direction of the cable: bytes go in, and come out later and worse."""

    def __init__(self, troubles: Troubles, seed: int) -> None:
        self._troubles = troubles
        self._dice = random.Random(seed)
        self._partial = b""
        self._free_s = 0.0
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._good_bits = self._draw_good_bits()
        self.unsent = bytearray()
        self.counts: Counter[str] = Counter()

    def empty(self) -> None:
        """Lose all that is under way."""
        self._partial = b""
        self._under_way.clear()
        self.unsent.clear()

    def put(self, data: bytes, now: float) -> None:
        """Send bytes into the cable."""
        self.counts["bytes"] += len(data)
        *frames, self._partial = (self._partial + data).split(b"\0")
        for frame in frames:
            for survivor in self._survivors(frame + b"\0"):
                self._schedule(self._flipped(survivor), now)

    def _survivors(self, frame: bytes) -> Iterator[bytes]:
        """The frame as often as it arrives; a lone delimiter is no frame and always does."""
        t, dice = self._troubles, self._dice
        if len(frame) == 1:
            yield frame
            return
        self.counts["frames"] += 1
        if dice.random() < t.drop:
            self.counts["dropped"] += 1
            return
        yield frame
        if dice.random() < t.duplicate:
            self.counts["duplicated"] += 1
            yield frame

    def _flipped(self, frame: bytes) -> bytes:
        bits, at = 8 * len(frame), self._good_bits
        if at >= bits:
            self._good_bits -= bits
            return frame
        mangled = bytearray(frame)
        while at < bits:
            mangled[int(at) // 8] ^= 1 << (int(at) % 8)
            self.counts["flipped"] += 1
            at += 1 + self._draw_good_bits()
        self._good_bits = at - bits
        return bytes(mangled)

    def _draw_good_bits(self) -> float:
        """Bits until the next wrong one."""
        flip = self._troubles.flip
        return inf if flip == 0 else log(1 - self._dice.random()) // log(1 - flip)

    def _schedule(self, frame: bytes, now: float) -> None:
        t = self._troubles
        self._free_s = max(self._free_s, now)
        if self._dice.random() < t.stall:
            self.counts["stalled"] += 1
            self._free_s += t.stall_s
        step = PACKET_BYTES if t.bytes_per_second < inf else len(frame)
        for first in range(0, len(frame), step):
            packet = frame[first : first + step]
            self._free_s += len(packet) / t.bytes_per_second
            self._under_way.append((self._free_s + t.latency_s, packet))

    @property
    def due_s(self) -> float:
        """When the next bytes come out."""
        return self._under_way[0][0] if self._under_way else inf

    def take(self, now: float) -> None:
        """Move what has come out by now to `unsent`."""
        while self._under_way and self._under_way[0][0] <= now:
            packet = self._under_way.popleft()[1]
            if len(self.unsent) < _MOST_UNREAD:
                self.unsent += packet


class Unplugged(Exception):  # noqa: N818 - what a cable does, no error of this program
    """The cable was pulled out, at some byte."""


class Cable:
    """Carries bytes between two file descriptors, whichever it is plugged into."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._from_host = Lane(troubles, 2 * troubles.seed)
        self._from_board = Lane(troubles, 2 * troubles.seed + 1)
        self._dice = random.Random(f"unplug {troubles.seed}")
        self._bytes_left = self._draw_bytes()
        self._pulled = 0

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """What happened, by direction, and to the cable itself."""
        own = Counter({"unplugged": self._pulled})
        return {"from host": self._from_host.counts, "from board": self._from_board.counts, "cable": own}

    @property
    def absence_s(self) -> float:
        """How long it stays out this time."""
        return self._dice.uniform(0, self._troubles.back_s)

    def _draw_bytes(self) -> float:
        """Bytes until it is pulled out; each is as likely to be the last."""
        mean = self._troubles.unplug_bytes
        return inf if mean == inf else 1 + self._dice.expovariate(1 / mean) // 1

    def carry(self, host: int, board: int) -> None:
        """Work until an end is gone; what is under way then is lost.

        Raises:
            Unplugged: The cable itself was pulled out.
        """
        lanes = ((host, self._from_host, board), (board, self._from_board, host))
        for _, lane, sink in lanes:
            lane.empty()
            os.set_blocking(sink, False)
        while True:
            due_s = min(lane.due_s for _, lane, _ in lanes)
            blocked = [sink for _, lane, sink in lanes if lane.unsent]
            patience = min(max(0.0, due_s - time.monotonic()), _LOOK_S)
            ready, _, _ = select.select([source for source, _, _ in lanes], blocked, [], patience)
            if not all(self._move(*ends, ready) for ends in lanes):
                return

    def _move(self, source: int, lane: Lane, sink: int, ready: list[int]) -> bool:
        """Take in and hand on what there is; False when an end is gone."""
        try:
            if source in ready:
                data = os.read(source, 65536)
                if not data:
                    return False
                lane.put(data, time.monotonic())
            lane.take(time.monotonic())
            while lane.unsent:
                self._hand_on(lane, sink)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _hand_on(self, lane: Lane, sink: int) -> None:
        written = os.write(sink, lane.unsent[: int(min(self._bytes_left, len(lane.unsent)))])
        del lane.unsent[:written]
        self._bytes_left -= written
        if not self._bytes_left:
            self._bytes_left = self._draw_bytes()
            self._pulled += 1
            raise Unplugged


@contextmanager
def _board_end(place: str) -> Iterator[int]:
    """The board's port at a path or host:port."""
    if os.path.exists(place):
        fd = os.open(place, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
    else:
        host, _, port = place.rpartition(":")
        connection = socket.create_connection((host, int(port)), 5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = connection.detach()
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _serial_end(path: Path) -> Iterator[int]:
    """A serial port at `path` for the host."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    path.symlink_to(os.ttyname(theirs))
    try:
        yield ours
    finally:
        path.unlink(missing_ok=True)
        os.close(ours)
        os.close(theirs)


@contextmanager
def _tcp_end(listener: socket.socket) -> Iterator[int]:
    """The next host that connects."""
    while not select.select([listener], [], [], _LOOK_S)[0]:
        pass
    connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection.fileno()


def _serve_serial(cable: Cable, path: Path, board: str) -> None:
    """Make the port again whenever the cable comes back, until the board is gone."""
    while True:
        try:
            with _board_end(board) as far, _serial_end(path) as near:
                _tell(str(path))
                cable.carry(near, far)
            return
        except Unplugged:
            time.sleep(cable.absence_s)


def _serve_tcp(cable: Cable, host: str, port: int, board: str) -> None:
    """Take one host after the other; nobody listens while the cable is out."""
    while True:
        with socket.create_server((host, port)) as listener:
            port = listener.getsockname()[1]
            _tell(f"{host}:{port}")
            try:
                while True:
                    with _tcp_end(listener) as near, _board_end(board) as far:
                        cable.carry(near, far)
            except Unplugged:
                pass
        time.sleep(cable.absence_s)


def _tell(place: str) -> None:
    """Say on stderr where the host's port is."""
    print(f"cable on {place}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", help="where to make the host's port: a path, or host:port to listen there")
    parser.add_argument("board", help="the board's port, a path or host:port")
    for name, default in vars(Troubles()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


def main() -> None:
    """Make the port, carry bytes, and print what was done to them."""
    arguments = vars(_arguments())
    port, board = arguments.pop("port"), arguments.pop("board")
    cable = Cable(Troubles(**arguments))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, colon, number = port.rpartition(":")
    try:
        if colon and "/" not in port:
            _serve_tcp(cable, host, int(number), board)
        else:
            _serve_serial(cable, Path(port), board)
    finally:
        print(json.dumps(cable.counts), flush=True)


if __name__ == "__main__":
    main()
