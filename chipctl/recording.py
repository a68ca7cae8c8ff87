"""What crossed a line, frame by frame: written down, read back, and answered from as the board did.

A record is JSON lines: a head for each line that was opened, then a frame a line, `{"t": seconds since the
head, "to": "board" or "host", "frame": hex of what stood between two delimiters}`.
"""

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from chipctl.errors import LinkError, ProtocolError
from firmware_protocol.frame import DELIMITER, Decoder, Frame, Kind, encode
from firmware_protocol.messages import (
    MESSAGES,
    REQUEST_BY_OPCODE,
    SCHEMA_HASH,
    Chunk,
    Fetch,
    Hello,
    Result,
    Safe,
    Stage,
    Staged,
)
from firmware_protocol.wire import Message, OpClass, WireError

_FORMAT = "chipctl record 1"
_MESSAGE_BY_OPCODE = {message.OPCODE: message for message in MESSAGES}
_MOST_SHOWN = 16

_wanted: ContextVar[Path | None] = ContextVar("record", default=None)


class Line(Protocol):
    """What is recorded: a transport."""

    name: str

    def write(self, data: bytes) -> None:
        """Send."""
        ...

    def read(self, timeout_s: float) -> bytes:
        """Receive."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@contextlib.contextmanager
def recording(path: Path) -> Iterator[None]:
    """Record every line that is opened inside the block to one new file."""
    path.write_text("")
    before = _wanted.set(path)
    try:
        yield
    finally:
        _wanted.reset(before)


def recorded(line: Line) -> Line:
    """The line, or a recorder around it if a record is wanted."""
    path = _wanted.get()
    return line if path is None else Recorder(line, path)


class Recorder:
    """A line of which every frame is written down; what was written stays if the process is killed."""

    def __init__(self, line: Line, path: Path) -> None:
        self.name = line.name
        self._line = line
        self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1)
        self._began_s = time.monotonic()
        self._partial = {"board": b"", "host": b""}
        head = {"format": _FORMAT, "port": line.name, "schema_hash": f"{SCHEMA_HASH:08x}"}
        self._note({**head, "began": datetime.now(UTC).isoformat()})

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        self._take("board", data)
        self._line.write(data)

    def read(self, timeout_s: float) -> bytes:
        """Whatever has arrived."""
        data = self._line.read(timeout_s)
        self._take("host", data)
        return data

    def close(self) -> None:
        """Let go of the line, and end the record."""
        self._line.close()
        self._file.close()

    def _take(self, to: str, data: bytes) -> None:
        *runs, self._partial[to] = (self._partial[to] + data).split(DELIMITER)
        now_s = round(time.monotonic() - self._began_s, 6)
        for run in filter(None, runs):
            self._note({"t": now_s, "to": to, "frame": run.hex()})

    def _note(self, facts: dict[str, Any]) -> None:
        if not self._file.closed:
            self._file.write(json.dumps(facts) + "\n")


@dataclass(frozen=True)
class Moment:
    """One frame of a record."""

    seconds: float
    to_board: bool
    frame: Frame | None
    """None for what was no frame."""
    size: int

    @property
    def message(self) -> Message | None:
        """What the frame says, if it can be read."""
        return None if self.frame is None else _message(self.frame)


def load(path: Path) -> list[Moment]:
    """The frames of a record, in order.

    Raises:
        ValueError: The file is no record.
    """
    moments = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a last line without an end was cut off
        for number, text in enumerate(lines):
            facts = json.loads(text)
            if number == 0 and facts["format"] != _FORMAT:
                raise ValueError(f"{path} has another format: {facts['format']}")
            if "frame" in facts:
                run = bytes.fromhex(facts["frame"])
                frame = next(iter(Decoder().feed(run + DELIMITER)), None)
                moments.append(Moment(facts["t"], facts["to"] == "board", frame, len(run) + 1))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no record of a line: {error!r}") from None
    return moments


def _message(frame: Frame) -> Message | None:
    kind = _MESSAGE_BY_OPCODE.get(frame.opcode)
    try:
        return kind.unpack(frame.payload) if kind is not None and frame.kind is not Kind.NOTICE else None
    except WireError:
        return None


def described(moment: Moment) -> str:
    """One frame as a line for people: time, direction, session, number, message and fields."""
    arrow = ">" if moment.to_board else "<"
    frame = moment.frame
    if frame is None:
        return f"{moment.seconds:12.6f} {arrow} {'no frame':>10}  {moment.size} bytes"
    place = f"{frame.session:04x} {frame.seq:5d}"
    word = "safes" if frame.kind is Kind.REQUEST else "status"
    status = f" {word} {frame.status}" if frame.status else ""
    return f"{moment.seconds:12.6f} {arrow} {place}  {frame.kind.name.lower():10} {_said(frame)}{status}"


def _said(frame: Frame) -> str:
    message = _message(frame)
    if message is None:
        kind = _MESSAGE_BY_OPCODE.get(frame.opcode)
        name = kind.__name__ if kind is not None else f"opcode {frame.opcode:#04x}"
        return f"{name} ({len(frame.payload)} bytes)"
    assert is_dataclass(message)
    facts = (f"{each.name}={_shown(getattr(message, each.name))}" for each in fields(message))
    return f"{type(message).__name__}({', '.join(facts)})"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        more = "…" if len(value) > _MOST_SHOWN else ""
        return f"{len(value)} bytes {value[:_MOST_SHOWN].hex()}{more}"
    return repr(value)


@dataclass
class _Exchange:
    """A request of the record and the last answer to it, with its bulk data."""

    asked: Frame
    staged: bytearray
    """What was staged for it."""
    answer: Frame | None = None
    result: bytearray = field(default_factory=bytearray)
    """What was fetched of its result."""

    def take_answer(self, answer: Frame) -> None:
        """Keep the answer; of a result its head is the first piece."""
        self.answer = answer
        message = _message(answer)
        if isinstance(message, Result):
            self.result.extend(bytes(message.total - len(self.result)))
            _lay(self.result, 0, message.head)


def _lay(data: bytearray, offset: int, piece: bytes) -> None:
    """Put a piece where it belongs."""
    data.extend(bytes(max(0, offset + len(piece) - len(data))))
    data[offset : offset + len(piece)] = piece


class Replay:
    """Answers as the board of a record did, as long as it is asked the same; `replay://FILE`.

    Session numbers and job ids are random: those of the record stand for those of now. Bulk data are answered
    by their content, for the size of their pieces follows the quality of the line.
    """

    def __init__(self, address: str) -> None:
        self.name = address
        self._path = Path(address.partition("://")[2])
        if not self._path.is_file():
            raise LinkError(f"{address}: no such record")
        self._exchanges, self._safe_answers = _exchanges(load(self._path))
        self._next = 0
        self._out = bytearray()
        self._decoder = Decoder()
        self._given: dict[tuple[int, int], bytes] = {}
        self._filled = 0
        self._jobs: dict[int, int] = {}
        """Job id now by job id in the record."""

    def write(self, data: bytes) -> None:
        """Take in requests and answer them from the record.

        Raises:
            ProtocolError: This was not asked then.
            LinkError: The record has no answer.
        """
        for frame in self._decoder.feed(data):
            request = REQUEST_BY_OPCODE.get(frame.opcode)
            if request is not None and request.CLASS is OpClass.SAFE:
                self._answer_safe(frame)
            elif (frame.session, frame.seq) in self._given:
                self._out += self._given[frame.session, frame.seq]
            else:
                given = DELIMITER + encode(self._answer(frame))
                self._given[frame.session, frame.seq] = given
                self._out += given

    def read(self, timeout_s: float) -> bytes:
        """The answers; time is not replayed."""
        data = bytes(self._out)
        self._out.clear()
        if not data:
            time.sleep(min(timeout_s, 0.01))
        return data

    def close(self) -> None:
        """Nothing to let go of."""

    def _answer(self, frame: Frame) -> Frame:
        message = _message(frame)
        if isinstance(message, Stage):
            return self._reply(frame, self._staged(message))
        if isinstance(message, Fetch):
            return self._reply(frame, self._fetched(message))
        exchange = self._due(frame)
        then = exchange.asked
        self._know_job(_message(then), message)
        if (frame.opcode, frame.payload) != (then.opcode, self._now(then).payload):
            raise self._differs(_said(self._now(then)), frame)
        if exchange.answer is None:
            raise LinkError(f"{self.name}: in the record the board does not answer {_said(frame)}")
        self._next += 1
        self._filled = 0
        return replace(self._now(exchange.answer), session=frame.session, seq=frame.seq, ack=frame.seq)

    def _due(self, frame: Frame) -> _Exchange:
        """What was asked next in the record."""
        if self._next >= len(self._exchanges):
            raise LinkError(f"{self.name}: the record ends before {_said(frame)}")
        return self._exchanges[self._next]

    def _differs(self, then: str, now: Frame) -> ProtocolError:
        return ProtocolError(
            f"{self.name}: request {self._next + 1} differs from the record: then {then}, now {_said(now)}"
        )

    def _know_job(self, then: Message | None, now: Message | None) -> None:
        """The first that is heard of a job tells which of the record's it is."""
        jobs = getattr(then, "job_id", 0), getattr(now, "job_id", 0)
        if all(jobs) and type(then) is type(now):
            self._jobs.setdefault(*jobs)

    def _reply(self, frame: Frame, message: Message) -> Frame:
        answered = self._exchanges[self._next - 1].answer
        room = 0 if answered is None else answered.room
        return replace(frame, kind=Kind.REPLY, opcode=message.OPCODE, room=room, payload=message.pack())

    def _staged(self, stage: Stage) -> Staged:
        frame = Frame(Kind.REQUEST, stage.OPCODE, 0, 0, payload=stage.pack())
        end = stage.offset + len(stage.data)
        if self._due(frame).staged[stage.offset : end] != stage.data:
            raise self._differs("other data were staged", frame)
        self._filled = max(self._filled, end)
        return Staged(self._filled)

    def _fetched(self, fetch: Fetch) -> Chunk:
        result = self._exchanges[self._next - 1].result
        return Chunk(fetch.offset, bytes(result[fetch.offset : fetch.offset + fetch.length]))

    def _answer_safe(self, frame: Frame) -> None:
        if not self._safe_answers:
            raise LinkError(f"{self.name}: the record has no answer to Safe")
        answer = self._safe_answers.popleft() if len(self._safe_answers) > 1 else self._safe_answers[0]
        self._out += DELIMITER + encode(replace(answer, session=frame.session, seq=frame.seq))

    def _now(self, frame: Frame) -> Frame:
        """A frame of the record with the job ids of now."""
        message = _message(frame)
        job = getattr(message, "job_id", None)
        if message is not None and job in self._jobs:
            changed: Any = replace(message, job_id=self._jobs[job])  # type: ignore[call-arg]
            frame = replace(frame, payload=changed.pack())
        return frame


def _exchanges(moments: list[Moment]) -> tuple[list[_Exchange], deque[Frame]]:
    """Requests in the order in which they were first asked, and the answers to Safe."""
    exchanges: dict[tuple[int, int, bool], _Exchange] = {}
    safe: deque[Frame] = deque()
    staged, last = bytearray(), None
    fetches: dict[tuple[int, int, bool], _Exchange] = {}
    hello_seq: tuple[int, int] | None = None
    for moment in moments:
        frame, message = moment.frame, moment.message
        if frame is None:
            continue
        is_hello = (frame.session, frame.seq) == hello_seq or (
            moment.to_board and frame.opcode == Hello.OPCODE
        )
        key = (frame.session, frame.seq, is_hello)
        if isinstance(message, Stage):
            _lay(staged, message.offset, message.data)
        elif isinstance(message, Fetch) and last is not None:
            fetches.setdefault(key, last)
        elif isinstance(message, Chunk) and key in fetches:
            _lay(fetches[key].result, message.offset, message.data)
        elif moment.to_board and frame.opcode != Safe.OPCODE:
            hello_seq = (frame.session, frame.seq) if is_hello else hello_seq
            if key not in exchanges:
                exchanges[key] = last = _Exchange(frame, staged)
                staged = bytearray()
        elif frame.kind is Kind.SAFE_REPLY:
            safe.append(frame)
        elif frame.kind is Kind.REPLY and key in exchanges:
            exchanges[key].take_answer(frame)
    return list(exchanges.values()), safe
