"""The host's end of a session: what to send when, and what became of every request."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import cache
from math import ceil, inf, log, log1p
from typing import Any

from firmware_protocol.frame import DELIMITER, OVERHEAD, Decoder, Frame, Kind, encode
from firmware_protocol.messages import MAX_PAYLOAD, Arm, Hello, Welcome
from firmware_protocol.messages import State as BoardState
from firmware_protocol.pace import ARMED_TIMEOUT_S, HELLO_TIMEOUT_S, MAX_TIMEOUT_S, FrameSize, RoundTrip
from firmware_protocol.session import SAFES_TOLD, distance, follows, session_name
from firmware_protocol.status import Status
from firmware_protocol.wire import OpClass, Request, WireError, layout

TRIES = 20
"""Time-outs in a row after which the session counts as lost. At 20 % loss each way a try fails with
p = 0.36; 200 exchanges then all succeed but for p = 200 * 0.36**20 < 1e-6. More where request
and answer are long and cannot be cut."""

_BIT_ERRORS = 1e-3
_MOST_FAILURES = 0.01 / 200
"""Of requests and answers that cannot be cut, on a line with so many bits wrong."""

_HEARTBEATS = 3
"""Times within a lease that a board at work hears from its host."""

AT_WORK_S = 60.0
"""Time that a board may say it is at work on a request beyond twice what was expected."""

CAREFUL_WINDOW = 8
"""Requests under way while frames keep failing: what follows a lost one is sent in vain."""

HELLO_TRIES = 30
SAFE_TRIES = 12
SAFE_TIMEOUT_S = 0.05

_MOST_OVERHEAD = OVERHEAD + MAX_PAYLOAD // 254


class Outcome(Enum):
    """What the host knows of a request."""

    OPEN = "open"
    """Queued or sent; no answer yet."""
    ANSWERED = "answered"
    """The board gave its final word: status and payload."""
    NOT_SENT = "not sent"
    """Not a byte of it left; it was not executed."""
    UNKNOWN = "unknown"
    """An effect that was sent and not answered: it happened once or not at all."""
    LOST = "lost"
    """Sent and not answered, but harmless to ask again."""


@dataclass(eq=False)
class Ticket:
    """One request and what became of it."""

    request: Request[Any]
    expect_s: float
    """Time its execution may take."""
    ack: int
    outcome: Outcome = Outcome.OPEN
    status: int = Status.OK
    opcode: int = 0
    """Of the reply."""
    payload: bytes = b""
    """Of the reply."""
    safes: int = 0
    """Requests for safety that its author knew of, as the wire tells it."""


@dataclass(eq=False)
class _Sent:
    """A request without an answer."""

    ticket: Ticket
    payload: bytes
    fixed_bytes: int
    has_tail: bool
    reply_bytes: int
    """Of the longest reply."""
    tries: int
    """Time-outs in a row after which it is given up."""
    session: int = 0
    seq: int = 0
    sends: int = 0
    queued_bytes: int = 0
    """Of the requests that stood before it on the line when it was sent last."""
    sent_s: float = 0.0
    order: int = 0
    """Place of its last sending among all sendings."""
    due: bool = True
    at_work_s: float | None = None
    """When the board first said that it is at work on it."""


def _prepare(ticket: Ticket) -> _Sent:
    """Pack the request, so that one that cannot be sent fails where it was asked for."""
    shape = layout(type(ticket.request))
    payload = ticket.request.pack()
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{type(ticket.request).__name__}: {len(payload)} bytes; a frame has {MAX_PAYLOAD}")
    reply = layout(ticket.request.REPLY)
    reply_bytes = MAX_PAYLOAD if reply.has_tail else reply.fixed.size
    tries = HELLO_TRIES if isinstance(ticket.request, Hello) else _tries(shape.fixed.size + reply.fixed.size)
    return _Sent(ticket, payload, shape.fixed.size, shape.has_tail, reply_bytes, tries)


@cache
def _tries(uncut_bytes: int) -> int:
    """Time-outs in a row after which a request counts as lost that has so many bytes with its answer."""
    passes = (1 - _BIT_ERRORS) ** (8 * (uncut_bytes + 2 * OVERHEAD))
    return max(TRIES, ceil(log(_MOST_FAILURES) / log1p(-passes)))


class State(Enum):
    """Whether requests can be sent."""

    CLOSED = "closed"
    GREETING = "greeting"
    OPEN = "open"


class HostSession:
    """Takes requests and bytes, gives bytes and outcomes; the time comes from outside.

    ticket = session.submit(request)
    while ticket.outcome is Outcome.OPEN:
        port.write(session.transmit(now()))
        session.receive(port.read(until=session.next_deadline), now())
    """

    def __init__(self, name: int = 0) -> None:
        """`name`: a random number of 32 bits, by which the board tells this host's requests for safety."""
        self.state = State.CLOSED
        self.closed_because = "no session was opened yet"
        self.timed_out = False
        """Whether the session ended because nothing was heard any more."""
        self.armed = False
        """While true nothing waits longer than `ARMED_TIMEOUT_S` before it is sent again. From the moment
        at which the lease is asked for, until the board says that there is none."""
        self.safes = 0
        """Requests for safety since the board started that this host knows of."""
        self.requests = 0
        self.retransmissions = 0
        self.round_trips = 0
        """Times at which all that was sent had to be waited for."""
        self.echoes = 0
        """Requests that came back as they were: the other side is no board."""
        self.frames = 0
        """Good frames from the board."""
        self.round_trip = RoundTrip()
        self.size = FrameSize(MAX_PAYLOAD)
        self._decoder = Decoder()
        self._queue: deque[_Sent] = deque()
        self._pending: dict[int, _Sent] = {}
        self._safe: _Sent | None = None
        self._safe_session, self._safe_seq = name >> 16, name & 0xFFFF
        self._name = 0
        self._lease_s = inf
        self._boot_id: int | None = None
        self._resumes = False
        self._next_seq = 0
        self.window = 1
        """Requests under way at most."""
        self._credit = 0
        self._order = 0
        self._heard_s = 0.0
        self._trip_end: int | None = None

    @property
    def bad_frames(self) -> int:
        """Frames dropped for length or CRC."""
        return self._decoder.bad_frames

    @property
    def foreign_major(self) -> int | None:
        """Protocol major of a board that speaks another one."""
        return self._decoder.foreign_major

    @property
    def unsent(self) -> int:
        """Requests that wait for room in the window."""
        return len(self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether every request has an outcome."""
        return not self._queue and not self._pending and self._safe is None

    def hello(self, request: Hello, number: int, first: int, *, resumes: bool = False) -> Ticket:
        """Open a session, ending any other; `number` and `first` are random 16-bit numbers.

        One that `resumes` goes on with what was begun before: a request for safety since then stands.
        """
        self.close("a new session was opened")
        self._resumes = resumes
        self.state = State.GREETING
        self.armed = self.timed_out = False
        self.round_trip = RoundTrip()
        self.size = FrameSize(request.frame_bytes)
        self._name, self._next_seq, self.window = number, first, 1
        return self._enqueue(request, 0.0)

    def submit(self, request: Request[Any], expect_s: float = 0.0) -> Ticket:
        """Take a request to be sent as soon as the window permits.

        One of class SAFE is sent at once, session or not. Any other is `NOT_SENT` without a session.
        """
        if request.CLASS is OpClass.SAFE:
            return self._submit_safe(request)
        if self.state is State.OPEN:
            return self._enqueue(request, expect_s)
        return Ticket(request, expect_s, 0, Outcome.NOT_SENT)

    def _enqueue(self, request: Request[Any], expect_s: float) -> Ticket:
        oldest = next(iter(self._pending), self._next_seq)
        ticket = Ticket(request, expect_s, ack=follows(oldest, -1), safes=self.safes % SAFES_TOLD)
        self._queue.append(_prepare(ticket))
        return ticket

    def _submit_safe(self, request: Request[Any]) -> Ticket:
        self.give_up_safe()
        self._safe_seq = follows(self._safe_seq)
        ticket = Ticket(request, 0.0, 0)
        self._safe = _prepare(ticket)
        self._safe.session, self._safe.seq = self._safe_session, self._safe_seq
        return ticket

    def withdraw(self) -> None:
        """Forget the requests that were not sent yet."""
        for queued in self._queue:
            queued.ticket.outcome = Outcome.NOT_SENT
        self._queue.clear()

    def close(self, because: str) -> None:
        """End the session here; what was sent and not answered stays unknown or lost."""
        self.withdraw()
        for sent in self._pending.values():
            is_effect = sent.ticket.request.CLASS is OpClass.EFFECT
            sent.ticket.outcome = Outcome.UNKNOWN if is_effect else Outcome.LOST
        self._pending.clear()
        self._trip_end = None
        self.state = State.CLOSED
        self.closed_because = because

    def give_up_safe(self) -> None:
        """Stop waiting for the answer to a request of class SAFE."""
        if self._safe is not None:
            self._safe.ticket.outcome = Outcome.LOST
            self._safe = None

    # Sending

    def transmit(self, now: float) -> bytes:
        """The bytes to send now: what the window permits, and again what was lost.

        A request for safety is sent alone; all else waits until it has an outcome.
        """
        self._watch(now)
        out = bytearray()
        if self._safe is not None:
            return DELIMITER + self._send(self._safe, now) if self._safe.due else b""
        for sent in self._pending.values():
            if sent.due:
                out += self._send(sent, now)
        while self._queue and self._fits_next():
            out += self._send(self._number(self._queue.popleft()), now)
        return DELIMITER + bytes(out) if out else b""

    def _fits_next(self) -> bool:
        """Whether the board still keeps the oldest missing reply, and has room for one more request."""
        if not self._pending:
            return True
        oldest = next(iter(self._pending))
        under_way = sum(len(sent.payload) + _MOST_OVERHEAD for sent in self._pending.values())
        following = len(self._queue[0].payload) + _MOST_OVERHEAD
        window = self.window if self.size.bytes == self.size.most else min(self.window, CAREFUL_WINDOW)
        most = min(self._credit, self.round_trip.flight_bytes(2 * (MAX_PAYLOAD + _MOST_OVERHEAD)))
        return distance(self._next_seq, oldest) < window and under_way + following <= most

    def _number(self, sent: _Sent) -> _Sent:
        """Give a request its number; Ctrl-C may come between any two lines, and no number is given twice."""
        while self._next_seq in self._pending:
            self._next_seq = follows(self._next_seq)
        sent.session, sent.seq = self._name, self._next_seq
        self._pending[sent.seq] = sent
        self._next_seq = follows(sent.seq)
        self._trip_end = sent.seq if self._trip_end is None else self._trip_end
        if isinstance(sent.ticket.request, Arm):
            self.armed, self._lease_s = True, sent.ticket.request.ttl_ms * 1e-3
        return sent

    def _send(self, sent: _Sent, now: float) -> bytes:
        if sent.sends == 0:
            self.requests += 1
        else:
            self.retransmissions += 1
        if sent.sends >= 2:
            self.size.failed()
        self._order += 1
        sent.queued_bytes = sum(len(other.payload) + OVERHEAD for other in self._pending.values())
        sent.sends, sent.sent_s, sent.order, sent.due = sent.sends + 1, now, self._order, False
        payload = sent.payload
        if sent.has_tail:
            payload = payload[: max(sent.fixed_bytes, self.size.bytes)]
        ticket, room = sent.ticket, self.size.bytes
        opcode = ticket.request.OPCODE
        return encode(
            Frame(Kind.REQUEST, opcode, sent.session, sent.seq, ticket.ack, room, ticket.safes, payload)
        )

    # Time

    @property
    def next_deadline(self) -> float | None:
        """When `transmit` must be called at the latest; None if nothing is waited for."""
        deadlines = [d for d in (self._deadline(), self._safe_deadline()) if d is not None]
        return min(deadlines, default=None)

    def _deadline(self) -> float | None:
        oldest = next(iter(self._pending.values()), None)
        if oldest is None or self._safe is not None:
            return None
        cap_s = self._cap_s
        patience_s = min(cap_s, self._lease_s / _HEARTBEATS) if self.armed else cap_s
        if oldest.at_work_s is None:
            patience_s = self.round_trip.timeout_s(cap_s) + min(oldest.ticket.expect_s, patience_s)
        return max(oldest.sent_s, self._heard_s) + min(self._line_s(oldest) + patience_s, cap_s)

    @property
    def _cap_s(self) -> float:
        if self.state is not State.OPEN:
            return HELLO_TIMEOUT_S
        return ARMED_TIMEOUT_S if self.armed else MAX_TIMEOUT_S

    def _line_s(self, sent: _Sent) -> float:
        """Time that a request, its answer and what stood before it take on the line."""
        reply_bytes = min(sent.reply_bytes, self.size.bytes) + OVERHEAD
        return self.round_trip.line_s(len(sent.payload) + OVERHEAD + reply_bytes + sent.queued_bytes)

    def _safe_deadline(self) -> float | None:
        safe = self._safe
        return None if safe is None else safe.sent_s + SAFE_TIMEOUT_S + self._line_s(safe)

    def _watch(self, now: float) -> None:
        safe, deadline = self._safe, self._safe_deadline()
        if safe is not None and safe.sends and deadline is not None and now >= deadline:
            safe.due = True
            if safe.sends >= SAFE_TRIES:
                self.give_up_safe()
                self._heard_s = now
        deadline = self._deadline()
        if deadline is not None and now >= deadline:
            self._miss(now)

    def _miss(self, now: float) -> None:
        oldest = next(iter(self._pending.values()))
        self.round_trip.misses += 1
        since_s = oldest.at_work_s
        if since_s is not None and now - since_s > AT_WORK_S + 2 * oldest.ticket.expect_s:
            self.timed_out = True
            self.close(f"the board says for {now - since_s:.0f} s that it is at work on it")
        elif self.round_trip.misses >= oldest.tries:
            self.timed_out = True
            self.close(f"no answer after {self.round_trip.misses} tries")
        else:
            oldest.due = True

    # Receiving

    def receive(self, data: bytes, now: float) -> None:
        """Take in bytes from the board and settle the requests they answer."""
        for frame in self._decoder.feed(data):
            self.frames += 1
            if frame.kind is Kind.REPLY:
                self._take_reply(frame, now)
            elif frame.kind is Kind.NOTICE:
                self._take_notice(frame, now)
            elif frame.kind is Kind.SAFE_REPLY:
                self._take_safe_reply(frame, now)
            else:
                self.echoes += 1

    def _take_reply(self, frame: Frame, now: float) -> None:
        sent = self._pending.get(frame.seq)
        if sent is None or sent.session != frame.session:
            self._take_repeated(frame)
            return
        if frame.seq == self._next_seq:
            self._next_seq = follows(frame.seq)
        del self._pending[frame.seq]
        for other in self._pending.values():
            other.due = other.due or other.order < sent.order
        self.round_trip.misses, self._heard_s, self._credit = 0, now, frame.room
        if sent.sends == 1 and not sent.ticket.expect_s and sent.at_work_s is None:
            own_bytes = len(sent.payload) + len(frame.payload) + 2 * OVERHEAD
            self.round_trip.measured(now - sent.sent_s, own_bytes, sent.queued_bytes)
        self.size.answered(sent.sends)
        if frame.seq == self._trip_end:
            self.round_trips += 1
            self._trip_end = next(reversed(self._pending), None)
        if self.state is State.GREETING:
            self._take_welcome(frame)
        self._settle(sent.ticket, frame)

    def _take_repeated(self, frame: Frame) -> None:
        if frame.session == self._name and self.state is State.OPEN:
            self.round_trip.premature()

    def _take_welcome(self, frame: Frame) -> None:
        try:
            welcome = Welcome.unpack(frame.payload) if frame.status == Status.OK else None
        except WireError:
            welcome = None
        if welcome is None:
            self.close("the board refused the hello")
            return
        self.state = State.OPEN
        self._name = session_name(self._name, welcome.boot_id)
        self.window = welcome.window
        self.size = FrameSize(min(self.size.most, welcome.frame_bytes))
        if not self._resumes or self._boot_id is None:
            self.safes = welcome.safes
        elif self._boot_id != welcome.boot_id:
            self.safes = 0
        self._boot_id = welcome.boot_id

    def _take_notice(self, frame: Frame, now: float) -> None:
        if frame.session != self._name or self.state is not State.OPEN:
            return
        if frame.status == Status.NO_SESSION:
            self.close("the board no longer knows this session: it was reset, or another host said hello")
        elif frame.status == Status.OUT_OF_ORDER:
            early = self._pending.get(frame.seq)
            missing = self._pending.get(follows(frame.ack))
            if early is not None and missing is not None and missing.order < early.order:
                missing.due = True
        elif frame.status == Status.AT_WORK and (working := self._pending.get(frame.seq)) is not None:
            self.round_trip.misses, self._heard_s, working.sends = 0, now, 1
            working.at_work_s = now if working.at_work_s is None else working.at_work_s

    def _take_safe_reply(self, frame: Frame, now: float) -> None:
        if self._safe is not None and self._safe.seq == frame.seq and self._safe.session == frame.session:
            self._settle(self._safe.ticket, frame)
            self._safe, self._heard_s = None, now

    def _settle(self, ticket: Ticket, frame: Frame) -> None:
        ticket.outcome = Outcome.ANSWERED
        ticket.status, ticket.opcode, ticket.payload = frame.status, frame.opcode, frame.payload
        if frame.opcode == BoardState.OPCODE and frame.status == Status.OK:
            self._take_state(ticket)

    def _take_state(self, ticket: Ticket) -> None:
        try:
            state = BoardState.unpack(ticket.payload)
        except WireError:
            return
        asked = any(isinstance(sent.ticket.request, Arm) for sent in self._pending.values())
        self.armed = bool(state.armed) or asked
        if ticket.request.CLASS is OpClass.SAFE:
            self.safes = state.safes
