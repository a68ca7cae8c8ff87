"""The A0 board's microcontroller: bytes in, bytes out, one command after the other, and a chip below."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_protocol import a0
from firmware_protocol.a0_frame import Decoder
from firmware_protocol.a0_wire import Command
from sim_chip.a0_chip import ARRAYS, WiredChip
from sim_chip.a0_firmware import DROPPED_REPLY, FAULTS, A0Firmware, HungError
from sim_chip.chip import VirtualChip
from sim_chip.pace import RealPace
from sim_chip.tias import GAIN_WORDS

_log = logging.getLogger(__name__)

_MOST_COMMANDS: Final = 4096
"""Kept for a host that does not wait; the real board stops it by not taking more."""

_WHOLE_ARRAYS: Final = (a0.ReadCells, a0.ReadCellsByColumn, a0.Multiply)
"""Their replies wait for the one before; all others are lost instead."""


@dataclass(frozen=True)
class _Asked:
    """A command received, and whether a reply was still owed then."""

    command: Command
    is_early: bool


class A0Mcu:
    """The board from its start: outputs at 0 V, pins low, clocks configured for 5 MHz and stopped.

    The caller hands over what came in (`receive`), calls `work` again and again, each time for one command,
    and sends what is to go out (`transmit`). Nothing tells the host of an error; `wired` counts them.
    A command that never ends leaves a board that answers nothing until it is made anew.
    """

    def __init__(
        self,
        chip: VirtualChip,
        *,
        faults: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = faults - set(FAULTS)
        if unknown:
            raise ValueError(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
        self.chip = chip
        self.wired = WiredChip(chip)
        self.firmware = A0Firmware(self.wired, faults)
        self.is_hung = False
        self.dropped_bytes = 0
        """To the host, dropped by the line because it was not read; whoever has the line counts them."""
        self.dropped_replies = 0
        self.failures = 0
        """Commands that ended in a bug of this board's."""
        self._loses_replies = DROPPED_REPLY in faults
        self._clock = clock
        self._pace: RealPace | None = None
        self._decoder = Decoder()
        self._bad_messages = 0
        self._queue: deque[_Asked] = deque()
        self._out, self._made = b"", b""

    def receive(self, data: bytes) -> None:
        """Take in bytes from the host; a board that hangs takes none."""
        if self.is_hung:
            return
        for command in self._decoder.feed(data):
            if len(self._queue) < _MOST_COMMANDS:
                self._queue.append(_Asked(command, self._owes_reply))
            else:
                self.wired.complain(f"over {_MOST_COMMANDS} commands waiting: the next is lost")
        if self._decoder.bad_messages != self._bad_messages:
            self._bad_messages = self._decoder.bad_messages
            self.wired.complain(self._decoder.last_error)

    @property
    def _owes_reply(self) -> bool:
        waiting = self._loses_replies and any(asked.command.reply.size for asked in self._queue)
        return bool(self._out or self._made or waiting)

    def work(self) -> float | None:
        """Execute the next command; seconds until the next call is due, None if only bytes matter."""
        ahead_s = self._pace.ahead_s() if self._pace else 0.0
        if ahead_s > 0.0 and (self._queue or self._made):
            return ahead_s
        self._release()
        if self._queue:
            self._execute(self._queue.popleft())
        if self._pace is None:
            self._release()
        return 0.0 if self._queue or self._made else None

    def _release(self) -> None:
        """Let the line have the reply: the chip's time for it is over."""
        self._out, self._made = self._out + self._made, b""

    def _execute(self, asked: _Asked) -> None:
        try:
            values = self.firmware.run(asked.command)
        except HungError as error:
            self.wired.complain(f"hangs until its reset button is pressed: {error}")
            self.is_hung = True
            self._queue.clear()
            return
        except Exception:  # our own bug: the board lives on
            _log.exception("A0 board: %r failed", asked.command)
            self.failures += 1
            return
        if values is None or not asked.command.reply.size:
            return
        if self._loses_replies and asked.is_early and not isinstance(asked.command, _WHOLE_ARRAYS):
            self.dropped_replies += 1
            return
        self._made = asked.command.reply.pack(values)

    def transmit(self) -> bytes:
        """The bytes to send to the host: of a reply all or nothing."""
        out, self._out = self._out, b""
        return out

    def follow_wall(self) -> None:
        """Tie the chip's clock to the wall's from now on."""
        self._pace = RealPace(self.chip, self._clock)

    def power_down(self) -> None:
        """Bring the chip to its safe state, and let go of what this board sets otherwise than others."""
        self.wired.dac.clear()
        self.chip.power_down()
        for gain, nominal_ns in enumerate(self.chip.parameters.timing.settle_ns):
            self.chip.set_sample_ns(gain, nominal_ns)
        for array in range(ARRAYS):
            self.chip.load_tia(array, [GAIN_WORDS[0]] * self.chip.parameters.cols)
