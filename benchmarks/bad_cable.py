"""A bad cable as a process: a serial port in front of a board's port, with faults and a line rate.

    python -m benchmarks.bad_cable /tmp/cable /tmp/board --drop 0.2 --flip 1e-5 --seed 3
    python -m benchmarks.bad_cable /tmp/cable localhost:7000 --bytes-per-second 11520

Both directions are damaged alike. A cable keeps order: what is late holds up all that follows. On SIGTERM
it prints what it did, as JSON.
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
from dataclasses import dataclass
from math import inf, log
from pathlib import Path

PACKET_BYTES = 64
"""What crosses at once where the line has a rate: a full-speed USB packet, some milliseconds of a UART."""

_MOST_UNREAD = 1 << 20


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
    unplug_s: float = inf
    """Seconds after which both ends are closed."""
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


class Cable:
    """Carries bytes between two file descriptors until it is unplugged or stopped."""

    def __init__(self, troubles: Troubles, host: int, board: int) -> None:
        self._troubles = troubles
        self._from_host = Lane(troubles, 2 * troubles.seed)
        self._from_board = Lane(troubles, 2 * troubles.seed + 1)
        self._lanes = ((host, self._from_host, board), (board, self._from_board, host))
        for fd in (host, board):
            os.set_blocking(fd, False)

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """What happened, by direction."""
        return {"from host": self._from_host.counts, "from board": self._from_board.counts}

    def carry(self) -> None:
        """Work until unplugged, or until an end is gone."""
        end_s = time.monotonic() + self._troubles.unplug_s
        while (now := time.monotonic()) < end_s:
            due_s = min(end_s, *(lane.due_s for _, lane, _ in self._lanes))
            blocked = [sink for _, lane, sink in self._lanes if lane.unsent]
            patience = None if due_s == inf else max(0.0, due_s - now)
            ready, _, _ = select.select([source for source, _, _ in self._lanes], blocked, [], patience)
            if not all(self._move(*ends, ready) for ends in self._lanes):
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
                del lane.unsent[: os.write(sink, lane.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def _open_board(place: str) -> int:
    if os.path.exists(place):
        fd = os.open(place, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        return fd
    host, _, port = place.rpartition(":")
    connection = socket.create_connection((host, int(port)), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection.detach()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=Path, help="where to make the host's port")
    parser.add_argument("board", help="the board's port, a path or host:port")
    for name, default in vars(Troubles()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


def main() -> None:
    """Make the port, carry bytes, and print what was done to them."""
    arguments = vars(_arguments())
    port, board = arguments.pop("port"), arguments.pop("board")
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    cable = Cable(Troubles(**arguments), ours, _open_board(board))
    port.symlink_to(os.ttyname(theirs))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        cable.carry()
    finally:
        port.unlink(missing_ok=True)
        print(json.dumps(cable.counts), flush=True)


if __name__ == "__main__":
    main()
