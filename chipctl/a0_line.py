"""The line to an A0 board: one question at a time, each with a deadline, over a line drained before it.

The board has no checksum, no sequence number and no error reply, and a reply that comes too late is the
next one's to whoever does not look. So nothing is asked while anything is owed: after an answer that did not
come, or was cut off, the board counts for us (command 103) before anything else is believed.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from numpy.typing import NDArray

from chipctl.errors import LinkError, LinkTimeout
from chipctl.link import LinkStatistics
from chipctl.transport import Transport
from firmware_protocol import a0
from firmware_protocol.a0_frame import FILLER
from firmware_protocol.a0_wire import DONE, HANDSHAKE, MAX_MESSAGE, Command

PATIENCE_S: Final = 3.0
"""How long a board may be late, on top of the time that a command takes."""

BUSY_S: Final = 15.0
"""How long a board may still be at work for a host that is gone, besides its waits after each reading: a
whole array, slowly read or pulsed."""

_COUNTED: Final = a0.Count.REPLY.pack([100_000 * n for n in range(64)])
_END_OF_ANY: Final = FILLER * (MAX_MESSAGE - 1) + b"\0"
"""Ends a message that was cut short, wherever it was, and makes it one that the board refuses: NULs instead
would be codes to it, and complete a batch."""
_SLICE_S = 0.05
_SILENCE_S = 0.3


class A0Line:
    """A board at the other end of a transport, of which `open` gives a new one."""

    def __init__(self, opener: Callable[[], Transport], patience_s: float = PATIENCE_S) -> None:
        self._opener, self._patience_s = opener, patience_s
        self._transport: Transport | None = None
        self._in_step, self._counts_owed = False, 0
        self._statistics = LinkStatistics(0, 0, 0, 0, 0, 0, None)
        self._is_cut = True
        """Whether the board may hold the beginning of a message that never went out whole."""
        self.late_bytes = 0
        """Bytes dropped because nobody had asked for them, or no longer."""

    @property
    def name(self) -> str:
        """The address, for messages to people."""
        return self._transport.name if self._transport else "the A0 board"

    @property
    def statistics(self) -> LinkStatistics:
        """Messages and bytes since the line was made; a round trip is a command with a reply."""
        return self._statistics

    def open(self) -> None:
        """Take the port; what a host before this one left half sent is ended by the first message."""
        self._transport = self._opener()
        self._in_step, self._counts_owed = False, 0
        self._is_cut = True

    def close(self) -> None:
        """Let go of the port."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def tell(self, commands: Sequence[Command]) -> None:
        """Send commands that have no reply, each in a transfer of its own.

        Raises:
            LinkError: The other side is gone.
        """
        for command in commands:
            assert not command.reply.size
            self._send(command)

    def ask(self, command: Command, takes_s: float = 0.0, then: Sequence[Command] = ()) -> NDArray[Any]:
        """The reply to a command, which takes the board `takes_s`.

        `then` are commands without a reply that are on their way before the reply is waited for, so that they
        follow even if this process ends now.

        Raises:
            LinkTimeout: No reply, or not all of it.
            LinkError: The other side is gone, or answers what is no reply to this.
        """
        self.get_in_step()
        self._drop_what_came()
        self._in_step = False
        self._send(command)
        self.tell(then)
        data = self._collected(command.reply.size, takes_s + self._patience_s, type(command).__name__)
        if command.reply is DONE and data != HANDSHAKE:
            raise LinkError(f"{self.name}: {data!r} is no handshake; the line is out of step")
        self._in_step = True
        self._statistics = replace(self._statistics, round_trips=self._statistics.round_trips + 1)
        return command.reply.unpack(data)

    def get_in_step(self, within_s: float | None = None) -> None:
        """See that nothing is owed any more: a board that counts has answered all that was asked before.

        A board drops a reply while the one before it is on its way, so a question that meets silence is asked
        again, after twice as long each time: a busy board takes no more than a few messages.

        Raises:
            LinkTimeout: It does not count.
        """
        if self._in_step:
            return
        deadline = time.monotonic() + (self._patience_s if within_s is None else within_s)
        held, again_s, silence_s = b"", 0.0, _SILENCE_S
        while not held.endswith(_COUNTED):
            now_s = time.monotonic()
            if now_s > deadline:
                raise LinkTimeout(f"{self.name}: no A0 board answers here; {self._why_silent}")
            if now_s >= again_s:
                self._send(a0.Count())
                self._counts_owed += 1
                again_s, silence_s = now_s + silence_s, 2 * silence_s
            held = held[-len(_COUNTED) :] + self._read(_SLICE_S)
        while self._counts_owed > 1 and self._read(_SILENCE_S):
            pass  # this count may be the answer to an earlier question, ours being on its way
        self._in_step, self._counts_owed = True, 0

    @property
    def _why_silent(self) -> str:
        hangs = "it hangs, as after a read without its clocks: press its reset button"
        if not self.name.startswith("socket://"):
            return f"if it is one, {hangs}"
        return (
            "another host may be connected to it, which it serves first, or it may still be at work for one "
            f"that is gone: wait for that, and try again; only if neither is so, {hangs}"
        )

    def _collected(self, size: int, within_s: float, asked: str) -> bytes:
        held, deadline = b"", time.monotonic() + within_s
        while len(held) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LinkTimeout(
                    f"{self.name}: {len(held)} of {size} bytes answered {asked} in {within_s:.1f} s; if "
                    "nothing else is answered, the board hangs: press its reset button"
                )
            held += self._read(min(left, _SLICE_S))
        if len(held) > size:
            raise LinkError(f"{self.name}: {len(held)} bytes answered {asked}, {size} were asked for")
        return held

    def _drop_what_came(self) -> None:
        while data := self._read(0.0):
            self.late_bytes += len(data)

    def _send(self, command: Command) -> None:
        self._write(command.encode())
        self._statistics = replace(self._statistics, requests=self._statistics.requests + 1)

    def _write(self, data: bytes) -> None:
        if self._is_cut:
            self._there.write(_END_OF_ANY)
        self._is_cut = True
        self._there.write(data)
        self._is_cut = False
        self._statistics = replace(self._statistics, bytes_out=self._statistics.bytes_out + len(data))

    def _read(self, timeout_s: float) -> bytes:
        data = self._there.read(timeout_s)
        self._statistics = replace(self._statistics, bytes_in=self._statistics.bytes_in + len(data))
        return data

    @property
    def _there(self) -> Transport:
        if self._transport is None:
            raise LinkError("the line to the A0 board is closed; connect again")
        return self._transport

    def reopen(self, within_s: float) -> None:
        """Take the port again after it was lost.

        Raises:
            LinkError: It did not come back in time.
        """
        with contextlib.suppress(LinkError):
            self.close()
        deadline = time.monotonic() + within_s
        while True:
            try:
                self.open()
                return
            except LinkError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_SLICE_S)
