"""Where the owner of a port can be asked, by any process of the same user: for SAFE, status and events.

One JSON line asks, `{"ask": "safe"}`; one JSON line answers, or one for each frame from the board. It works
while the owner's own thread computes: a request of class SAFE stands outside every sequence.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from firmware_protocol.frame import DELIMITER, Decoder, Frame, Kind, encode
from firmware_protocol.messages import Safe

ANSWER_S = 0.15
"""Within this the owner has made the board safe, or whoever asks takes the port over."""

_TRY_S = 0.03
_MOST_ASKED = 4096


class SafeCall:
    """One request of class SAFE beside whatever session there is, until the board confirms it."""

    def __init__(self) -> None:
        self._frame = Frame(Kind.REQUEST, Safe.OPCODE, secrets.randbits(16), secrets.randbits(16))
        self._decoder = Decoder()
        self._confirmed = threading.Event()

    @property
    def data(self) -> bytes:
        """The bytes to send, again and again."""
        return DELIMITER + encode(self._frame)

    def hear(self, data: bytes) -> None:
        """Take in bytes from the board."""
        for frame in self._decoder.feed(data):
            if frame.kind is Kind.SAFE_REPLY:
                self._heard(frame.session, frame.seq)

    def _heard(self, session: int, seq: int) -> None:
        if (session, seq) == (self._frame.session, self._frame.seq):
            self._confirmed.set()

    @contextlib.contextmanager
    def listening_at(self, path: Path | None) -> Iterator[None]:
        """Meanwhile take in what the owner of the port hears too: whoever reads first gets the answer.

        `path` is where the owner can be asked, None if nowhere.
        """
        if path is None:
            yield
            return
        with socket.socket(socket.AF_UNIX) as line:
            with contextlib.suppress(OSError):
                line.settimeout(ANSWER_S)
                line.connect(str(path))
                _say(line, {"ask": "events"})
                line.settimeout(None)
                threading.Thread(target=self._hear_events, args=(line,), daemon=True).start()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _hear_events(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError), line.makefile() as lines:
            for event in map(json.loads, lines):
                if event["kind"] == Kind.SAFE_REPLY.name.lower():
                    self._heard(event["session"], event["seq"])

    def wait(self, timeout_s: float) -> bool:
        """Whether the board confirmed, waiting for it."""
        return self._confirmed.wait(timeout_s)


class Doorbell:
    """Answers at a local socket while its port is open."""

    def __init__(self, path: Path, port: str, write: Callable[[bytes], None] | None) -> None:
        """`write` sends bytes to the board; None where it takes no request beside its host's."""
        self._path = path
        self._port = port
        self._write = write
        self._began_s = time.monotonic()
        self._bytes_in = 0
        self._listeners: list[Callable[[bytes], None]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen()
        threading.Thread(target=self._answer_all, name=f"doorbell of {port}", daemon=True).start()

    def hear(self, data: bytes) -> None:
        """Take in what came from the board."""
        self._bytes_in += len(data)
        for listener in tuple(self._listeners):
            listener(data)

    def close(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _answer_all(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError, ValueError, AttributeError):
            asked = json.loads(caller.recv(_MOST_ASKED)).get("ask")
            if asked == "safe":
                _say(caller, {"safe": self._make_safe()})
            elif asked == "events":
                self._stream(caller)
            else:
                _say(caller, self._status())

    def _make_safe(self) -> bool:
        if self._write is None:
            return False
        call = SafeCall()
        with self._listening(call.hear):
            for _ in range(int(ANSWER_S / _TRY_S)):
                self._write(call.data)
                if call.wait(_TRY_S):
                    return True
        return False

    def _status(self) -> dict[str, Any]:
        open_s = round(time.monotonic() - self._began_s, 3)
        return {"port": self._port, "pid": os.getpid(), "open_seconds": open_s, "bytes_in": self._bytes_in}

    def _stream(self, caller: socket.socket) -> None:
        decoder, gone = Decoder(), threading.Event()

        def tell(data: bytes) -> None:
            try:
                for frame in decoder.feed(data):
                    seconds = round(time.monotonic() - self._began_s, 6)
                    facts = {"t": seconds, "kind": frame.kind.name.lower(), "opcode": frame.opcode}
                    facts |= {"session": frame.session, "seq": frame.seq, "status": frame.status}
                    _say(caller, facts)
            except OSError:
                gone.set()

        caller.settimeout(_TRY_S)
        with self._listening(tell):
            gone.wait()

    @contextlib.contextmanager
    def _listening(self, listener: Callable[[bytes], None]) -> Iterator[None]:
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


def _say(caller: socket.socket, facts: dict[str, Any]) -> None:
    caller.sendall(json.dumps(facts).encode() + b"\n")


def ask(path: Path, what: str, timeout_s: float) -> dict[str, Any] | None:
    """The owner's answer; None if there is none in time."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        line.connect(str(path))
        _say(line, {"ask": what})
        with line.makefile() as lines:
            answer = json.loads(lines.readline())
        return answer if isinstance(answer, dict) else None
    return None
