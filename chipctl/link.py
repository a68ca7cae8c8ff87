"""A session with a board over a transport: requests in, replies or one clear error out."""

import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Self, TypeVar

import structlog
from crc32c import crc32c

from chipctl.errors import DeviceError, LinkError, LinkTimeout, MadeSafe, OutcomeUnknown, ProtocolError
from chipctl.transport import Transport, open_transport
from firmware_protocol.host_session import HostSession, Outcome, Ticket
from firmware_protocol.host_session import State as SessionState
from firmware_protocol.messages import (
    MAX_PAYLOAD,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    SCHEMA_HASH,
    Chunk,
    Fetch,
    Hello,
    Refusal,
    Result,
    Safe,
    Stage,
    Staged,
    State,
    Welcome,
)
from firmware_protocol.status import Executed, Status
from firmware_protocol.wire import Message, OpClass, Request, WireError

_IDLE_S = 0.1
_RETRY_S = 0.2
_ECHOES = 3
_OFFSET_BYTES = 4
_LOGGED_EVERY_S = 5.0
"""Time between two lines of statistics in the log while there is traffic."""
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True)
class LinkStatistics:
    """What crossed a link since it was opened."""

    requests: int
    round_trips: int
    """Times at which all that was sent had to be waited for."""
    retransmissions: int
    bad_frames: int
    """Frames from the board dropped for length or CRC."""
    bytes_out: int
    bytes_in: int
    round_trip_s: float | None
    """Smoothed time from a request to its reply, less the time of their bytes on the line."""


class Link:
    """A board at the other end of a transport.

        with Link(open_transport("/dev/ttyACM0")) as link:
            info = link.request(GetInfo())

    Every request ends in bounded time: with its reply, or with the error that says who must act. After
    any error, also KeyboardInterrupt, `safe` can be called at once; after a `LinkError`, `open` again
    begins a new session.
    """

    def __init__(
        self, transport: Transport, *, force: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`force` permits effects although message layouts differ; `clock` tells the time in seconds."""
        self.transport = transport
        self._clock = clock
        self._session = HostSession(secrets.randbits(32))
        self._welcome: Welcome | None = None
        self._force = force
        self._is_gone = False
        self._bytes_out = 0
        self._bytes_in = 0
        self._logged_s = clock()
        self._log = _log().bind(port=transport.name)

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The session

    def open(self, within_s: float = inf, *, resumes: bool = False) -> Welcome:
        """Say hello and begin a session, ending any other; takes at most about three seconds.

        A port at which there may be no board is given less time by `within_s`. A session that `resumes` goes
        on with what was begun before: if somebody asked for safety since, it can do nothing but look.

        Raises:
            LinkError: Nothing answers, or what answers is no board.
            ProtocolError: The board speaks another major version of the protocol.
        """
        hello = Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH, MAX_PAYLOAD, int(self._force))
        number = secrets.randbits(16)
        bytes_before = self._bytes_in
        self._welcome = None
        ticket = self._session.hello(hello, number, first=secrets.randbits(16), resumes=resumes)
        end_s = self._clock() + within_s
        self._until(lambda: ticket.outcome is not Outcome.OPEN or self._is_no_board or self._clock() > end_s)
        if self._session.foreign_major is not None:
            raise self._misfit(f"{self._session.foreign_major}")
        if ticket.outcome is not Outcome.ANSWERED:
            raise LinkError(self._no_welcome(self._bytes_in > bytes_before))
        if ticket.status == Status.VERSION_MISMATCH:
            raise self._misfit("another version")
        welcome = _reply(self.transport.name, ticket, Welcome)
        if welcome.protocol_major != PROTOCOL_MAJOR:
            self._session.close("the board speaks another protocol")
            raise self._misfit(f"{welcome.protocol_major}.{welcome.protocol_minor} ({welcome.firmware})")
        self._welcome = welcome
        self._log = self._log.bind(session=f"{number:04x}")
        structlog.contextvars.bind_contextvars(session=f"{number:04x}")
        self._log.debug("session opened", board=welcome.board, boot=f"{welcome.boot_id:08x}")
        return welcome

    def reopen(self, within_s: float) -> Welcome:
        """Go on in a new session after a `LinkError`, on the same port as soon as a board answers there.

        Raises:
            LinkError: None does within the time.
        """
        end_s = self._clock() + within_s
        while True:
            try:
                if self._is_gone:
                    self.transport.close()
                    self.transport = open_transport(self.transport.name)
                    self._is_gone = False
                return self.open(resumes=True)
            except LinkError:
                if self._clock() > end_s:
                    raise
                time.sleep(_RETRY_S)

    @property
    def _is_no_board(self) -> bool:
        """Whether what answers a hello can never become a session: another major, or our own echo."""
        return self._session.foreign_major is not None or self._session.echoes >= _ECHOES

    def _misfit(self, theirs: str) -> ProtocolError:
        ours = f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}"
        return ProtocolError(
            f"{self.transport.name}: the board speaks protocol {theirs}, this chipctl {ours}; "
            "install the chipctl that fits the firmware, or flash the firmware that fits this chipctl"
        )

    def _no_welcome(self, answered: bool) -> str:
        name = self.transport.name
        if self._session.state is SessionState.CLOSED and not self._session.timed_out:
            return f"{name}: {self._session.closed_because}"
        if self._session.echoes:
            return f"{name} sends back what it is sent: a loop or a terminal, not a board; check the port"
        if answered:
            return f"{name} answers, but not in this protocol; check the port, and its baud rate (?baud=…)"
        return (
            f"{name}: nothing answers; check that the board has power, that this is its port, and that no "
            "other program is connected to it; an A0 board's address begins with a0+"
        )

    def close(self) -> None:
        """End the session and let go of the port."""
        if self._welcome is not None:
            self._log.info("link closed", **asdict(self.statistics))
            self._welcome = None
            structlog.contextvars.unbind_contextvars("session")
        self._session.close("the link was closed")
        self.transport.close()

    @property
    def welcome(self) -> Welcome:
        """Who the board is.

        Raises:
            LinkError: No session was opened.
        """
        if self._welcome is None:
            raise LinkError(f"{self.transport.name}: no session; open the link first")
        return self._welcome

    @property
    def read_only(self) -> bool:
        """Whether the board lays out some message otherwise, so that effects are refused here."""
        return self.welcome.schema_hash != SCHEMA_HASH and not self._force

    @property
    def statistics(self) -> LinkStatistics:
        """What crossed the link so far."""
        session = self._session
        return LinkStatistics(
            requests=session.requests,
            round_trips=session.round_trips,
            retransmissions=session.retransmissions,
            bad_frames=session.bad_frames,
            bytes_out=self._bytes_out,
            bytes_in=self._bytes_in,
            round_trip_s=session.round_trip.smoothed_s,
        )

    # Requests

    def request(self, request: Request[ReplyT], expect_s: float = 0.0) -> ReplyT:
        """Ask, and wait for the reply; `expect_s` is how long the board may work on it.

        A board that is still at work after twice that and a minute is given up.

        Raises:
            ValueError: A field does not fit the message.
            DeviceError: The board refused.
            MadeSafe: Somebody asked the board to be safe since `open`, or since `safe` was called here.
            LinkTimeout: No answer; nothing happened that matters.
            OutcomeUnknown: No answer to an effect; it happened once or not at all.
            ProtocolError: The message layouts differ and this is an effect.
        """
        reply: ReplyT = self.pipeline([request], expect_s)[0]
        return reply

    def pipeline(self, requests: Iterable[Request[Any]], expect_s: float = 0.0) -> list[Any]:
        """Ask several things without waiting in between; the replies, in order.

        The first refusal ends it: the board executes nothing that was sent after the refused request, and
        the rest is not sent. Raises as `request` does, for the first request that failed; `completed`
        of the error counts the requests before it. If any outcome is unknown, that is what is raised.
        """
        self._until(lambda: self._session.is_idle)
        tickets: list[Ticket] = []
        for request in requests:
            self._permit(request)
            tickets.append(self._session.submit(request, expect_s))
            self._until(lambda: self._session.unsent < self._session.window)
            if any(_failed(ticket) for ticket in tickets[-2 * self._session.window :]):
                self._session.withdraw()
                break
        self._until(lambda: all(ticket.outcome is not Outcome.OPEN for ticket in tickets))
        self._tell_statistics()
        self._raise_if_unknown(tickets)
        replies: list[Any] = []
        try:
            for ticket in tickets:
                replies.append(self._result(ticket))
        except DeviceError as error:
            error.completed = len(replies)
            raise
        return replies

    def _tell_statistics(self) -> None:
        """A line in the log now and then, so that a cable that turns bad shows in a long run."""
        if self._welcome is not None and self._clock() >= self._logged_s + _LOGGED_EVERY_S:
            self._logged_s = self._clock()
            self._log.info("link", **asdict(self.statistics))

    def _permit(self, request: Request[Any]) -> None:
        changes = request.CLASS in (OpClass.EFFECT, OpClass.SETTING)
        if changes and self._welcome is not None and self.read_only:
            raise ProtocolError(
                f"{self.transport.name}: message layouts differ (board {self.welcome.schema_hash:08x}, "
                f"chipctl {SCHEMA_HASH:08x}): this session may only read; install the chipctl that fits "
                f"firmware {self.welcome.firmware}, or open the link with force=True"
            )

    def safe(self) -> State:
        """Zero the board's outputs, end any job, drop the lease: with or without a session.

        What was asked before, and is still on its way, is not carried out any more.

        Raises:
            LinkTimeout: The board did not say that it did; its lease ends by itself.
        """
        ticket = self._session.submit(Safe())
        self._until(lambda: ticket.outcome is not Outcome.OPEN)
        if ticket.outcome is not Outcome.ANSWERED:
            raise LinkTimeout(
                f"{self.transport.name}: the board did not confirm its safe state; switch off its "
                "supply, or, if it is an A0 board, put a0+ before its address"
            )
        return _reply(self.transport.name, ticket, State)

    # Bulk data

    def stage(self, data: bytes) -> None:
        """Fill the board's staging buffer with `data`."""
        filled, before = 0, -1
        while filled > before and (filled < len(data) or before < 0):
            before = filled
            replies: list[Staged] = self.pipeline(self._pieces(data, filled))
            filled = replies[-1].filled
        if filled != len(data):
            raise ProtocolError(f"{self.transport.name}: the board staged {filled} of {len(data)} bytes")

    def _pieces(self, data: bytes, offset: int) -> Iterator[Stage]:
        """`data` from `offset` on, in pieces of the size that passes the line when they are sent."""
        while True:
            piece = data[offset : offset + self._piece_bytes]
            yield Stage(offset, piece)
            offset += len(piece)
            if offset >= len(data):
                return

    @property
    def _piece_bytes(self) -> int:
        return self._session.size.bytes - _OFFSET_BYTES

    def collect(self, result: Result) -> bytes:
        """All the bytes of a result, of which the reply held the first."""
        data = bytearray(result.total)
        data[: len(result.head)] = result.head
        missing = [(len(result.head), result.total)]
        while missing := [(first, end) for first, end in missing if first < end]:
            missing = self._fetch(data, missing)
        if len(data) != result.total or crc32c(bytes(data)) != result.crc:
            raise ProtocolError(f"{self.transport.name}: the result changed while it was fetched; ask again")
        return bytes(data)

    def _fetch(self, data: bytearray, missing: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Fetch the missing stretches into `data`; what is still missing, since chunks may come cut."""
        asked: list[tuple[int, int]] = []

        def fetches() -> Iterator[Fetch]:
            for first, end in missing:
                while first < end:
                    size = min(end - first, self._piece_bytes)
                    asked.append((first, first + size))
                    yield Fetch(first, size)
                    first += size

        chunks: list[Chunk] = self.pipeline(fetches())
        still = []
        for (first, end), chunk in zip(asked, chunks, strict=True):
            if chunk.offset != first or not 0 < len(chunk.data) <= end - first:
                raise ProtocolError(f"{self.transport.name}: the board sent another piece than was asked for")
            data[first : first + len(chunk.data)] = chunk.data
            still.append((first + len(chunk.data), end))
        return still

    # Driving the session

    def _until(self, done: Callable[[], bool]) -> None:
        """Move bytes and time until `done`; what is not sent by an interruption is never sent."""
        try:
            while not done():
                out = self._session.transmit(self._clock())
                if out:
                    self._bytes_out += len(out)
                    self.transport.write(out)
                arrived = self.transport.read(self._patience())
                self._bytes_in += len(arrived)
                self._session.receive(arrived, self._clock())
        except LinkError as error:
            self._is_gone = True
            self._session.close(str(error).removeprefix(f"{self.transport.name}: "))
            self._session.give_up_safe()
            self._log.debug("session lost", reason=str(error))
            if not done():
                raise
        except BaseException:
            self._session.withdraw()
            raise

    def _patience(self) -> float:
        deadline = self._session.next_deadline
        return _IDLE_S if deadline is None else max(0.0, deadline - self._clock())

    def _raise_if_unknown(self, tickets: Sequence[Ticket]) -> None:
        for completed, ticket in enumerate(tickets):
            if ticket.outcome is Outcome.UNKNOWN:
                asked, because = type(ticket.request).__name__, self._session.closed_because
                raise OutcomeUnknown(
                    f"{self.transport.name}: {asked} was sent but not answered: it happened once or not at "
                    f"all; {because}; read the devices concerned before going on",
                    completed,
                )

    def _result(self, ticket: Ticket) -> Message:
        name, asked = self.transport.name, type(ticket.request).__name__
        if ticket.outcome is Outcome.ANSWERED:
            return _reply(name, ticket, ticket.request.REPLY)
        because = self._session.closed_because
        if self._session.timed_out:
            raise LinkTimeout(f"{name}: {asked}: {because}; check cable and power, then connect again")
        raise LinkError(f"{name}: {asked} failed: {because}")


def _log() -> Any:
    """The program's log; where none was configured, warnings on stderr and nothing on stdout."""
    if structlog.is_configured():
        return structlog.get_logger()
    only_warnings = structlog.make_filtering_bound_logger(logging.WARNING)
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), wrapper_class=only_warnings)


def _failed(ticket: Ticket) -> bool:
    answered = ticket.outcome is Outcome.ANSWERED
    return ticket.outcome is not Outcome.OPEN and not (answered and ticket.status == Status.OK)


def _reply(name: str, ticket: Ticket, expected: type[ReplyT]) -> ReplyT:
    """The reply on a ticket that was answered.

    Raises:
        DeviceError: It is a refusal.
        MadeSafe: It is the refusal of one who did not know of a request for safety.
        ProtocolError: It is no reply to this request.
    """
    asked = type(ticket.request).__name__
    if ticket.status == Status.MADE_SAFE:
        raise MadeSafe(
            f"{name}: the board was asked to be safe, and is left so: {asked} was not carried out; to go on, "
            "call safe() here too, or connect again"
        )
    try:
        if ticket.status != Status.OK:
            refusal = Refusal.unpack(ticket.payload) if ticket.payload else Refusal(Executed.NO, 0, "")
            raise DeviceError(ticket.status, refusal, asked)
        if ticket.opcode != expected.OPCODE:
            raise ProtocolError(f"{name}: {asked} was answered by opcode {ticket.opcode:#04x}")
        return expected.unpack(ticket.payload)
    except WireError as error:
        raise ProtocolError(f"{name}: the answer to {asked} does not fit: {error}") from None
