"""Pulses of an A0 board: checked here, since the board checks nothing, and followed by 0 V on every path.

The rails keep the voltages of the device that was pulsed last. In a batch that is the last one of the array,
and it gets 0 V at a gate of 0 V, which does nothing: so the board itself ends a batch at 0 V, whatever
becomes of this process or the cable meanwhile. Behind it, and behind each single pulse, go words that zero
both rails before the reply is waited for. The board keeps the codes of a batch; `a0_packets` sees to it that
lost packets leave devices out and replay nothing.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chipctl import a0_facts as facts
from chipctl.a0_line import A0Line
from chipctl.a0_packets import Packets
from chipctl.a0_power import PULSE_SWITCHES, QUIET, A0Power
from chipctl.a0_write_back import A0WriteBack, Batch
from chipctl.errors import LinkError, OutcomeUnknown
from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import LINES, Command
from firmware_protocol.bulk import Ints
from firmware_protocol.messages import RESET, SET
from firmware_protocol.rails import PULSE_RAILS

FEW_PULSES: Final = 16
"""Up to so many devices are pulsed one by one, each with its own reply; more, in a batch of 64 packets."""

_ZERO_CODE: Final = facts.sent_code(facts.true_code(0.0))

_SET_UP_S: Final = 200e-6
"""Most time that goes into a pulse besides its width (the lab saw 40 µs)."""


class A0Pulser:
    """Gives pulses, after the limits of this host."""

    def __init__(self, line: A0Line, power: A0Power, write_back: A0WriteBack) -> None:
        self._line, self._power, self._write_back = line, power, write_back
        self.limits = facts.LIMITS
        self.given = 0
        """Pulses confirmed, and those of batches of which that is not known."""
        self._packets = Packets()

    def start(self) -> None:
        """After power-up: another host may have left codes in the board's buffers."""
        self._packets.forget()

    def pulse_map(self, array: int, direction: int, width_ns: int, volt_codes: Ints, gate_codes: Ints) -> int:
        """Give each device its own pulse; where either code is 0, none. Returns how many.

        Raises:
            ValueError: Above a limit; nothing was sent.
            OutcomeUnknown: The board did not confirm.
        """
        chosen = (volt_codes != 0) & (gate_codes != 0)
        self._check(array, direction, width_ns, volt_codes[chosen], gate_codes[chosen])
        count = int(np.count_nonzero(chosen))
        if not count:
            return 0
        at_once = width_ns <= facts.INFO.fine_width_ns and count > FEW_PULSES
        if at_once:
            self._write_back.prepare(array, chosen)
        with self._zeroed_after():
            self._make_ready(array, width_ns)
            if at_once:
                codes = np.concatenate([volt_codes, gate_codes])
                codes = np.where(np.concatenate([chosen, chosen]), codes - facts.OFFSET_CODES, w.SKIP_CODE)
                most = self.limits.set_code if direction == SET else self.limits.reset_code
                given = np.stack([volt_codes, gate_codes])
                self._write_back.gave(array, Batch(direction, width_ns, chosen.copy(), given, most))
                self._give_batch(array, direction, width_ns, codes)
                chosen = chosen & _IS_LAST
            else:
                self._write_back.gave_alone(array, chosen)
            for row, col in np.argwhere(chosen):
                codes_of = int(volt_codes[row, col]), int(gate_codes[row, col])
                self._give_one(array, direction, width_ns, (int(row), int(col)), codes_of)
            if width_ns > facts.INFO.fine_width_ns:
                self._power.quiet()  # as the firmware has done by itself
        if self.limits.pulses_per_second:
            time.sleep(count / self.limits.pulses_per_second)
        return count

    def check_count(self, count: int) -> None:
        """Refuse more pulses per device than the limit."""
        if not 1 <= count <= self.limits.pulses_per_device:
            raise ValueError(f"{count} pulses: a device gets 1 to {self.limits.pulses_per_device} at a time")

    def _check(
        self, array: int, direction: int, width_ns: int, volts: NDArray[np.int64], gates: NDArray[np.int64]
    ) -> None:
        limits, info = self.limits, facts.INFO
        if not 0 <= array < facts.ARRAYS or direction not in (SET, RESET):
            raise ValueError(f"no array {array} or direction {direction} on the A0 board")
        tick = info.tick_ns if width_ns <= info.fine_width_ns else info.coarse_tick_ns
        if not 0 < width_ns <= limits.width_ns or width_ns % tick:
            raise ValueError(f"pulse width {width_ns} ns is above the limit or not a multiple of {tick} ns")
        ground = facts.true_code(0.0)
        most = limits.set_code if direction == SET else limits.reset_code
        for name, codes, top in (("pulse", volts, most), ("gate", gates, limits.gate_code)):
            if codes.size and not ground <= codes.min() <= codes.max() <= top:
                raise ValueError(f"{name} codes must lie within {ground} to {top}")

    @contextlib.contextmanager
    def _zeroed_after(self) -> Iterator[None]:
        """Pulse and gate rail at 0 V and all switches off, however it ends; if well, by its own words."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(LinkError):
                self._power.quiet()
                self._power.disconnect()
            raise
        self._power.disconnect()

    def _make_ready(self, array: int, width_ns: int) -> None:
        self._power.check()
        self._power.forget_columns()
        self._power.disconnect()
        for rail in PULSE_RAILS:
            self._power.put(rail, facts.true_code(0.0))
        self._power.will_connect(array, PULSE_SWITCHES)
        start = w.Control().write_start
        ticks = round(width_ns / facts.TICK_NS) if width_ns <= facts.INFO.fine_width_ns else 1
        # read counts as the lab's client has them while it writes
        self._power.control(replace(w.Control(), read_start=0x80, read_end=1, write_end=start + ticks))

    def _give_batch(self, array: int, direction: int, width_ns: int, codes: Ints) -> None:
        """The packets of a batch, all but its last device; `codes` (128, 64) as sent."""
        codes[:LINES][_IS_LAST] = codes[LINES:][_IS_LAST] = _ZERO_CODE
        self._line.get_in_step()
        packets = self._packets.of(direction, codes)
        try:
            self._line.tell([_packet(array, direction, row, part) for row, part in packets])
        except BaseException:
            self._packets.forget()
            raise
        last = _packet(array, direction, a0.LAST_ROW, codes[a0.LAST_ROW :])
        self._confirmed(last, int(np.count_nonzero(codes[:LINES])) - 1, width_ns, QUIET)

    def _give_one(
        self, array: int, direction: int, width_ns: int, place: tuple[int, int], codes: tuple[int, int]
    ) -> None:
        volt, gate = (code - facts.OFFSET_CODES for code in codes)
        if width_ns <= facts.INFO.fine_width_ns:
            self._confirmed(a0.Pulse(array, *place, direction, volt, gate), 1, width_ns, QUIET)
        else:  # the firmware itself ends it at 0 V
            pulse = a0.TimedPulse(array, *place, direction, volt, gate, _ZERO_CODE, width_ns // 1000)
            self._confirmed(pulse, 1, width_ns)

    def _confirmed(self, command: Command, count: int, width_ns: int, then: Sequence[Command] = ()) -> None:
        self._line.get_in_step()
        self.given += count
        try:
            self._line.ask(command, count * (_SET_UP_S + width_ns * 1e-9), then)
        except LinkError as error:
            raise OutcomeUnknown(
                f"the A0 board did not confirm {count} pulses: all, some or none; read the devices ({error})"
            ) from error


_IS_LAST: Final = np.zeros((LINES, LINES), np.bool_)
"""The device that a batch comes to last."""
_IS_LAST[-1, -1] = True


def _packet(array: int, direction: int, row: int, codes: NDArray[np.int64]) -> a0.PulseRows:
    return a0.PulseRows(array, direction, row, w.pack_codes(codes))
