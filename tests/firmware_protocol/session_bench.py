"""A bench for sessions: a host, a board that counts what it executes, and a bad line with its own clock."""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field, fields, replace

from crc32c import crc32c

from firmware_protocol.device_session import DeviceSession, Inbound
from firmware_protocol.host_session import HostSession, Outcome, State, Ticket
from firmware_protocol.messages import (
    MAX_PAYLOAD,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    REQUEST_BY_OPCODE,
    SCHEMA_HASH,
    Chunk,
    Fetch,
    Hello,
    OpenReport,
    Refusal,
    Result,
    Safe,
    Stage,
    Staged,
    Started,
    StartProgram,
    Wait,
    Waited,
    Welcome,
)
from firmware_protocol.messages import State as StateReply
from firmware_protocol.status import Executed, Status
from firmware_protocol.wire import Message

HELLO = Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH, MAX_PAYLOAD)


class Crash(Exception):  # noqa: N818
    """The board's processor starts anew."""


@dataclass
class Board:
    """Executes requests; a `Wait` stands for an effect, its duration for its identity."""

    boot_id: int = 1
    window: int = 8
    executed: Counter[int] = field(default_factory=Counter)
    staging: bytearray = field(default_factory=bytearray)
    result: bytes = b""
    order: list[int] = field(default_factory=list)
    executed_at: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Boot id and requests for safety, when an effect was executed, by its number."""
    safes: int = 0
    refuse: set[int] = field(default_factory=set)
    is_slow: bool = False
    """Whether effects are executed by `work` and not as they come."""
    crashes_next: bool = False
    """Whether the next effect is executed but never answered."""
    session: DeviceSession = field(init=False)
    held: list[Inbound] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = DeviceSession(self.boot_id, self.window)

    def reset(self) -> None:
        """Lose what memory loses; what was done to the chip stays done."""
        self.boot_id = (self.boot_id * 0x9E3779B1 + 1) % 2**32
        self.staging.clear()
        self.held.clear()
        self.crashes_next = False
        self.session = DeviceSession(self.boot_id, self.window)

    def feed(self, data: bytes, now: float) -> bytes:
        """Take in bytes; the bytes to send back."""
        try:
            for inbound in self.session.receive(data, now):
                if self.is_slow and not inbound.is_safe:
                    self.held.append(inbound)
                else:
                    self.session.reply(inbound, *self.execute(inbound))
        except Crash:
            self.reset()
        return self.session.transmit()

    def work(self, now: float) -> bytes:
        """Execute what is held, as a slow board does."""
        held, self.held = self.held, []
        try:
            for inbound in held:
                self.session.reply(inbound, *self.execute(inbound))
        except Crash:
            self.reset()
        return self.feed(b"", now)

    def execute(self, inbound: Inbound) -> tuple[Message, Status]:
        request = REQUEST_BY_OPCODE[inbound.opcode].unpack(inbound.payload)
        match request:
            case Hello():
                return self.welcome(), Status.OK
            case Safe():
                self.safes += 1
                self.end_effects()
                nothing = StateReply(*[0] * len(fields(StateReply)))
                return replace(nothing, safes=self.session.safes), Status.OK
            case Wait(number):
                if number in self.refuse:
                    return Refusal(Executed.NO, 0, "refused"), Status.OVER_LIMIT
                self.executed[number] += 1
                self.order.append(number)
                self.executed_at[number] = self.boot_id, self.session.safes
                if self.crashes_next:
                    raise Crash
                return Waited(number), Status.OK
            case Stage(offset, data):
                if offset == 0:
                    self.staging.clear()
                if offset <= len(self.staging):
                    self.staging[offset : offset + len(data)] = data
                return Staged(len(self.staging)), Status.OK
            case OpenReport():
                head = self.result[: MAX_PAYLOAD - 8]
                return Result(len(self.result), crc32c(self.result), head), Status.OK
            case Fetch(offset, length):
                return Chunk(offset, self.result[offset : offset + length]), Status.OK
            case StartProgram():
                return Started(request.job_id), Status.OK
        return Refusal(Executed.NO, 0, "no handler"), Status.UNKNOWN_OPCODE

    def end_effects(self) -> None:
        """What is under way is not carried out any more."""
        for inbound in [inbound for inbound in self.held if inbound.opcode == Wait.OPCODE]:
            self.held.remove(inbound)
            self.session.reply(inbound, Refusal(Executed.NO, 0, "ended"), Status.ABORTED)

    def welcome(self) -> Welcome:
        return Welcome(
            PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH, self.boot_id, 0, self.window, MAX_PAYLOAD,
            65536, 65536, 0, 0, "bench", "bench", "0", self.session.safes,
        )  # fmt: skip


@dataclass
class Faults:
    """Probabilities per write (drop, duplicate, truncate, delay) and per bit (flip)."""

    drop: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    flip: float = 0.0
    jitter_s: float = 0.0


class Bench:
    """Runs host and board against each other over a line with faults, in simulated time."""

    def __init__(self, seed: int = 0, faults: Faults | None = None, board: Board | None = None) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.board = board or Board()
        self.host = HostSession()
        self.now = 0.0
        self.delay_s = 0.001
        self._in_flight: list[tuple[float, int, bool, bytes]] = []
        self._sent = 0
        self._last = {True: 0.0, False: 0.0}

    def hello(self) -> Ticket:
        return self.host.hello(HELLO, self.random.getrandbits(16), self.random.getrandbits(16))

    def open_again(self) -> None:
        self.host.close("again")
        self.open()

    def open(self) -> None:
        while self.host.state is not State.OPEN:
            self.run(self.hello())

    def run(self, *tickets: Ticket, limit_s: float = 2000.0) -> list[Ticket]:
        """Let time pass until the tickets have an outcome."""
        end = self.now + limit_s
        while any(ticket.outcome is Outcome.OPEN for ticket in tickets):
            self.step()
            assert self.now < end, "a request has no end"
        return list(tickets)

    def step(self) -> bool:
        """One event: bytes arrive, or the host's deadline passes. False if nothing can happen."""
        self.put(True, self.host.transmit(self.now))
        deadline = self.host.next_deadline
        arrival = self._in_flight[0][0] if self._in_flight else None
        if arrival is not None and (deadline is None or arrival <= deadline):
            self.now, _, to_board, data = heapq.heappop(self._in_flight)
            if to_board:
                self.put(False, self.board.feed(data, self.now))
            else:
                self.host.receive(data, self.now)
            return True
        if deadline is None:
            return False
        self.now = max(self.now, deadline)
        return True

    def settle(self) -> None:
        """Let time pass until nothing is under way."""
        while self.step():
            pass

    def put(self, to_board: bool, data: bytes) -> None:
        for frame in data.split(b"\0"):
            if frame:
                self._put_frame(to_board, b"\0" + frame + b"\0")

    def _put_frame(self, to_board: bool, data: bytes) -> None:
        dice, faults = self.random, self.faults
        if dice.random() < faults.drop:
            return
        if dice.random() < faults.truncate:
            data = data[: dice.randrange(len(data))]
        if faults.flip:
            data = flipped(data, faults.flip, dice)
        for _ in range(2 if dice.random() < faults.duplicate else 1):
            at = self.now + self.delay_s + dice.random() * faults.jitter_s
            self._last[to_board] = at = max(at, self._last[to_board])
            self._sent += 1
            heapq.heappush(self._in_flight, (at, self._sent, to_board, data))


def flipped(data: bytes, probability: float, dice: random.Random) -> bytes:
    """`data` with each bit flipped with `probability`."""
    mangled = bytearray(data)
    at = -1
    while True:
        at += 1 + int(dice.expovariate(1.0) / probability)
        if at >= 8 * len(mangled):
            return bytes(mangled)
        mangled[at // 8] ^= 1 << at % 8
