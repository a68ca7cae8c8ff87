"""The board's end of a session: which requests to execute, each at most once, and what to answer."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from firmware_protocol.frame import DELIMITER, Decoder, Frame, Kind, encode
from firmware_protocol.messages import MAX_PAYLOAD, REQUEST_BY_OPCODE, Hello, Refusal
from firmware_protocol.session import SAFES_TOLD, WINDOW, distance, follows, session_name
from firmware_protocol.status import Executed, Status
from firmware_protocol.wire import Message, OpClass, layout

_REMEMBERED_HELLOS = 32
_REMEMBERED_SAFES = 32


@dataclass(frozen=True)
class Inbound:
    """A request to execute now, and then to answer with `DeviceSession.reply`."""

    opcode: int
    payload: bytes
    session: int
    seq: int
    is_safe: bool = False

    @property
    def is_hello(self) -> bool:
        """Whether this opens a session."""
        return self.opcode == Hello.OPCODE


@dataclass(frozen=True)
class _Answer:
    opcode: int
    status: Status
    payload: bytes
    fixed_bytes: int
    has_tail: bool


class DeviceSession:
    """Accepts bytes, hands out requests one after the other, and holds the bytes to send back.

        for inbound in session.receive(data, now):
            session.reply(inbound, message)
        port.write(session.transmit())

    The next request is handed out only when the last one has its reply. A SAFE request alone comes at
    once, even while another is being executed; what waits then, and was asked without knowing of it, is
    refused.
    """

    def __init__(self, boot_id: int, window: int = WINDOW, buffer_bytes: int = 32_768) -> None:
        self.boot_id = boot_id
        self.window = window
        self.buffer_bytes = buffer_bytes
        self.safes = 0
        """Requests of class SAFE, one that came again counted once."""
        self.duplicates = 0
        """Requests that came again and were not executed again."""
        self.last_traffic_s: float | None = None
        """When the last request of the open session, old or new, came in: what keeps a lease alive."""
        self._decoder = Decoder()
        self._out = bytearray()
        self._hellos: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED_HELLOS)
        self._hello: Inbound | None = None
        self._welcome: _Answer | None = None
        self._safe_names: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED_SAFES)
        self._urgent: deque[Inbound] = deque()
        self._begin(None, 0)

    def _begin(self, session: int | None, seq: int) -> None:
        self._session = session
        self._expected = follows(seq)
        self._replies: dict[int, _Answer] = {}
        self._rooms: dict[int, int] = {}
        self._queue: deque[tuple[Inbound, Frame]] = deque()
        self._queued_bytes = 0
        self._executing: Inbound | None = None
        self._refused: int | None = None
        self._safes_known = self.safes

    @property
    def is_open(self) -> bool:
        """Whether a host's hello was accepted."""
        return self._session is not None and self._welcome is not None

    @property
    def bad_frames(self) -> int:
        """Frames dropped for length or CRC."""
        return self._decoder.bad_frames

    @property
    def bytes_without(self) -> int:
        """Bytes since the last good frame."""
        return self._decoder.bytes_without

    def receive(self, data: bytes, now: float) -> Iterator[Inbound]:
        """Take in `data`; iterate over the requests that may be executed now, also earlier ones."""
        foreign = self._decoder.foreign_frames
        for frame in self._decoder.feed(data):
            if frame.kind is Kind.REQUEST:
                self._accept(frame, now)
        if self._decoder.foreign_frames > foreign:
            self._notice(Frame(Kind.NOTICE, Hello.OPCODE, 0, 0), Status.VERSION_MISMATCH)
        return self._hand_out()

    def _accept(self, frame: Frame, now: float) -> None:
        request = REQUEST_BY_OPCODE.get(frame.opcode)
        inbound = Inbound(frame.opcode, frame.payload, frame.session, frame.seq)
        if request is not None and request.CLASS is OpClass.SAFE:
            self._accept_safe(frame)
        elif inbound.is_hello:
            self._accept_hello(inbound, frame, now)
        elif frame.session != self._session or not self.is_open:
            self._notice(frame, Status.NO_SESSION)
        else:
            self.last_traffic_s = now
            self._accept_numbered(inbound, frame)

    def _accept_safe(self, frame: Frame) -> None:
        self._urgent.append(Inbound(frame.opcode, frame.payload, frame.session, frame.seq, is_safe=True))
        if (frame.session, frame.seq) not in self._safe_names:
            self._safe_names.append((frame.session, frame.seq))
            self.safes += 1
            if self.safes - self._safes_known >= SAFES_TOLD:
                self._begin(None, 0)

    def _accept_hello(self, hello: Inbound, frame: Frame, now: float) -> None:
        if (hello.session, hello.seq) not in self._hellos:
            self._hellos.append((hello.session, hello.seq))
            self._begin(session_name(hello.session, self.boot_id), hello.seq)
            self._hello, self._welcome = hello, None
            self.last_traffic_s = now
            self._queue.append((hello, frame))
        elif self._hello == hello and self._welcome is not None:
            self.duplicates += 1
            self._answer(hello, self._welcome)

    def _accept_numbered(self, inbound: Inbound, frame: Frame) -> None:
        ahead = distance(frame.seq, self._expected)
        if ahead > 0 or (ahead == 0 and self._is_full(frame)):
            self._notice(frame, Status.OUT_OF_ORDER)
            return
        if ahead < -self.window:
            self._notice(frame, Status.STALE)
            return
        self._rooms[frame.seq] = frame.room
        if ahead == 0:
            self._expected = follows(frame.seq)
            self._queue.append((inbound, frame))
            self._queued_bytes += len(frame.payload)
            return
        self.duplicates += 1
        if frame.seq in self._replies:
            self._answer(inbound, self._replies[frame.seq])
        else:
            self._notice(frame, Status.AT_WORK)

    def _is_full(self, frame: Frame) -> bool:
        """Whether the host sends more than it was told there is room for."""
        waiting = len(self._queue) + (self._executing is not None)
        return waiting >= self.window or self._queued_bytes + len(frame.payload) > self.buffer_bytes

    def _hand_out(self) -> Iterator[Inbound]:
        while self._urgent or (self._queue and self._executing is None):
            if self._urgent:
                yield self._urgent.popleft()
                continue
            inbound, frame = self._queue.popleft()
            self._queued_bytes -= len(frame.payload)
            self._executing = inbound
            if inbound.is_hello:
                yield inbound
            elif self._refused is not None and distance(frame.ack, self._refused) < 0:
                self._discard(inbound)
            elif self._may_execute(frame):
                self._refused = None
                yield inbound
            else:
                reason = "the board was asked to be safe: begin anew"
                self.reply(inbound, Refusal(Executed.NO, 0, reason), Status.MADE_SAFE)

    def _may_execute(self, frame: Frame) -> bool:
        """Whether it harms nobody, or was asked in the knowledge of every request for safety."""
        if frame.status == self.safes % SAFES_TOLD:
            self._safes_known = self.safes
            return True
        request = REQUEST_BY_OPCODE.get(frame.opcode)
        return request is None or request.CLASS is OpClass.PURE

    def _discard(self, inbound: Inbound) -> None:
        refused = self._refused
        refusal = Refusal(Executed.NO, 0, f"request {refused} before it was refused")
        self.reply(inbound, refusal, Status.DISCARDED)
        self._refused = refused

    def reply(self, inbound: Inbound, message: Message, status: Status = Status.OK) -> None:
        """Answer `inbound`; the answer is kept and sent again whenever its request comes again.

        The tail of a message may be sent cut; the host then asks for the rest. A status other than OK
        is a refusal: what the host asked without knowing of it is discarded. An answer to a request of
        a session that has ended meanwhile is dropped.
        """
        shape = layout(type(message))
        answer = _Answer(message.OPCODE, status, message.pack(), shape.fixed.size, shape.has_tail)
        if inbound.is_safe:
            self._answer(inbound, answer)
        elif inbound is self._executing:
            self._executing = None
            self._keep(inbound, answer)
            self._answer(inbound, answer)

    def _keep(self, inbound: Inbound, answer: _Answer) -> None:
        if inbound.is_hello:
            self._welcome = answer
            if answer.status != Status.OK:
                self._session = None
            return
        self._replies[inbound.seq] = answer
        forgotten = follows(inbound.seq, -self.window)
        self._replies.pop(forgotten, None)
        self._rooms.pop(forgotten, None)
        if answer.status != Status.OK:
            self._refused = inbound.seq

    def transmit(self) -> bytes:
        """The bytes to send now."""
        if not self._out:
            return b""
        data = DELIMITER + bytes(self._out)
        self._out.clear()
        return data

    def _answer(self, inbound: Inbound, answer: _Answer) -> None:
        payload = answer.payload
        if answer.has_tail:
            payload = payload[: max(answer.fixed_bytes, self._rooms.get(inbound.seq, MAX_PAYLOAD))]
        kind = Kind.SAFE_REPLY if inbound.is_safe else Kind.REPLY
        self._send(kind, inbound, answer.opcode, answer.status, payload)

    def _notice(self, frame: Frame, status: Status) -> None:
        self._send(Kind.NOTICE, frame, frame.opcode, status)

    def _send(
        self, kind: Kind, to: Inbound | Frame, opcode: int, status: Status, payload: bytes = b""
    ) -> None:
        accepted = follows(self._expected, -1)
        self._out += encode(
            Frame(kind, opcode, to.session, to.seq, accepted, self.buffer_bytes, status, payload)
        )
