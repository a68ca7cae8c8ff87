"""What the A0 board's firmware does on each command: pins, DAC and FIFOs in its order, and its own buffers.

Where it drives a whole array device by device, the chip is asked at once: the same noise is drawn and the
same time passes, and pins, registers and rails are left as after the last device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import LINES, Command
from firmware_protocol.a0_words import Pin
from firmware_protocol.rails import Rail
from sim_chip.a0_chip import HungError as HungError
from sim_chip.a0_chip import WiredChip
from sim_chip.device import Direction

_log = logging.getLogger(__name__)

LOST_PACKET: Final = "lost-packet"
"""Every batch of 405 loses one of its packets on the line, so older codes stay: another each time, counted
as if all batches were of one length, and never that which starts it."""
DROPPED_REPLY: Final = "dropped-reply"
"""A reply is lost if it was asked for before the one before it was out; not those of whole arrays."""
STRAY_WIDTH: Final = "stray-width"
"""407 takes zero code and width from anywhere, as real firmware does."""
FAULTS: Final = (LOST_PACKET, DROPPED_REPLY, STRAY_WIDTH)

_MONITORS: Final = 5
_MONITOR_TOP, _MONITOR_VOLTS = 4095, 3.3
_FLOATS, _AUTOMATIC = 1, 2

Cells = tuple[NDArray[np.intp], NDArray[np.intp]]
Handler = Callable[[Any], ArrayLike | None]


@dataclass
class _Batch:
    """Codes that packets leave behind, and how many batches they were for."""

    codes: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((2 * LINES, LINES), np.uint16))
    count: int = 0
    sent: int = 0
    """Packets of the batch so far, that which starts it left out; …"""
    sent_before: int = LINES - 1
    """… and of the batch before, at first those of a host that sends each place once."""

    def take(self, row: int, payload: bytes) -> None:
        """Store two rows."""
        self.codes[row : row + 2] = w.unpack_codes(payload)

    def cells(self) -> Cells:
        """The devices neither of whose codes says to skip them, row by row."""
        volts, gates = self.codes[:LINES], self.codes[LINES:]
        rows, cols = np.nonzero((volts != w.SKIP_CODE) & (gates != w.SKIP_CODE))
        return rows, cols


class A0Firmware:
    """Executes commands on a wired chip; `run` answers with the values of the reply."""

    def __init__(self, wired: WiredChip, faults: frozenset[str] = frozenset()) -> None:
        self._wired = wired
        self._faults = faults
        self._batch = _Batch()
        self._products = np.zeros((a0.MAX_VECTORS, LINES), np.uint16)
        self.lost_packets = 0
        """Packets of batches that `LOST_PACKET` took."""
        self._handlers: dict[type[Command], Handler] = {
            **self._of_pins(),
            **self._of_chip(),
            a0.ReadCell: self._read_cell,
            a0.ReadCells: self._read_cells,
            a0.ReadCellsByColumn: self._read_cells_by_column,
            a0.ReadAgain: self._read_again,
            a0.Multiply: self._multiply,
            a0.Pulse: self._pulse,
            a0.PulseRows: self._pulse_rows,
            a0.TimedPulse: self._timed_pulse,
            a0.TimedPulseRows: self._timed_pulse_rows,
        }

    def run(self, command: Command) -> ArrayLike | None:
        """Execute a command.

        Raises:
            HungError: It never ends.
        """
        return self._handlers[type(command)](command)

    def _of_pins(self) -> dict[type[Command], Handler]:
        wired = self._wired
        return {
            a0.Print: lambda c: _log.info("A0 board: %r", c.number),
            a0.Count: lambda _: 100_000 * np.arange(64),
            a0.WritePort: lambda c: wired.write_port(c.port, c.value),
            a0.ReadPort: lambda c: wired.read_port(c.port),
            a0.SetLineData: lambda c: wired.write_bus(w.LINE_DATA, c.bits),
            a0.SetLineBank: lambda c: wired.write_port("K", c.banks),
            a0.SetFifoEnable: lambda c: wired.write_port("K", c.value << 4),
            a0.ReadAdcBus: lambda _: wired.adc_bus,
            a0.SetSlewRate: lambda _: None,
            a0.SetPin: lambda c: wired.set_pin(Pin(c.port, c.pin)),
            a0.ClearPin: lambda c: wired.set_pin(Pin(c.port, c.pin), False),
            a0.TogglePin: lambda c: wired.set_pin(Pin(c.port, c.pin), not wired.level(Pin(c.port, c.pin))),
            a0.MakeInput: lambda c: wired.make_input(Pin(c.port, c.pin), True),
            a0.MakeOutput: lambda c: wired.make_input(Pin(c.port, c.pin), False),
            a0.StartClock: lambda c: wired.start_clock(c.clock, True),
            a0.StopClock: lambda c: wired.start_clock(c.clock, False),
            a0.SetClock: lambda c: wired.set_divider(c.clock, c.base, c.divider),
            a0.SetCalibrationMux: lambda _: None,
        }

    def _of_chip(self) -> dict[type[Command], Handler]:
        wired = self._wired
        return {
            a0.WriteDac: self._write_dac,
            a0.ShiftChain: self._load_chain,
            a0.LoadChain: self._load_chain,
            a0.ExchangeChain: lambda c: np.frombuffer(wired.shift(c.chain, c.payload), np.uint8),
            a0.ReadMonitors: lambda _: [self._monitor()] * _MONITORS,
            a0.ReadFifo: lambda c: wired.download(c.fifo),
            a0.SetTestInput: lambda c: wired.dac.put_out(Rail.ADC_TEST, c.dac_code),
            a0.ResetDac: self._reset_dac,
            a0.ConvertTestInput: lambda c: wired.convert_test_input(c.fifo)[-1],
        }

    def _write_dac(self, command: a0.WriteDac) -> None:
        if not self._wired.write_dac(command.word):
            self._wired.complain(f"the DAC knows no word {command.word:#010x}")

    def _load_chain(self, command: a0.ShiftChain | a0.LoadChain) -> ArrayLike:
        self._wired.shift(command.chain, command.payload)
        return a0.HANDSHAKE

    def _reset_dac(self, command: a0.ResetDac) -> None:
        self._wired.dac.clear()
        self._wired.dac.obey(w.dac_word(w.Operation.SPAN_ALL, 0, command.span))
        self._wired.dac.clear()

    def _monitor(self) -> int:
        """Half the chip's supply, as behind a divider; what the real board's channels are at is not known."""
        volts = self._wired.chip.supply_uv / 2e6
        return min(_MONITOR_TOP, int(volts / _MONITOR_VOLTS * _MONITOR_TOP))

    # Reads -----------------------------------------------------------------------------------------

    def _reset_engine(self) -> None:
        self._wired.set_pin(w.DPE_RESET_NOT, False)
        self._wired.set_pin(w.DPE_RESET_NOT)

    def _connect(self, array: int, automatic: bool, *, floats: bool) -> None:
        """Switch an array to its TIAs; the host takes that back."""
        wired = self._wired
        self._reset_engine()
        wired.set_pin(w.AGC_INTERNAL if automatic else w.DPE_INTERNAL)
        wired.set_pin(w.READ_BIT)
        wired.set_pin(w.READ_DPE, not floats)
        wired.set_pin(w.FORCE_SAFE_NOTS[array])
        wired.set_pin(w.CONNECT_TIA)
        wired.set_pin(w.CONNECT_COLUMN)

    def _select(self, array: int, row: int, col: int) -> None:
        lines = np.arange(LINES)
        self._wired.chip.load_rows(array, lines == row)
        self._wired.chip.load_columns(array, lines == col)

    def _read(self, array: int, cells: Cells, automatic: bool) -> NDArray[np.uint16]:
        rows, cols = cells
        self._select(array, int(rows[-1]), int(cols[-1]))
        self._connect(array, automatic, floats=True)
        return self._wired.read_cells(array, rows, cols, automatic)

    def _read_cell(self, command: a0.ReadCell) -> int:
        cells = np.array([command.row]), np.array([command.col])
        return int(self._read(command.array, cells, bool(command.automatic))[0])

    def _read_cells(self, command: a0.ReadCells) -> ArrayLike:
        every, words = np.arange(LINES), np.zeros((LINES, LINES), np.uint16)
        for row in range(LINES):
            cells = np.full(LINES, row), every
            words[row] = self._read(command.array, cells, bool(command.automatic))
            self._wired.chip.advance(1000 * command.delay_us * LINES)
        return words

    def _read_cells_by_column(self, command: a0.ReadCellsByColumn) -> ArrayLike:
        every, words = np.arange(LINES), np.zeros((LINES, LINES), np.uint16)
        for col in range(LINES):
            cells = every, np.full(LINES, col)
            words[:, col] = self._read(command.array, cells, bool(command.automatic))
        return words

    def _read_again(self, command: a0.ReadAgain) -> int:
        wired = self._wired
        self._wired.chip.advance(1000 * (command.before_us + command.after_us + command.end_us))
        wired.check_converts()
        wired.set_pin(w.AGC_INTERNAL if command.automatic else w.DPE_INTERNAL)
        wired.convert(bool(command.automatic))
        fifo, word = wired.chip.fifo_address(command.array, command.col)
        return int(wired.download(fifo)[word])

    def _multiply(self, command: a0.Multiply) -> ArrayLike | None:
        number = command.vectors
        if number > a0.MAX_VECTORS:
            self._wired.complain(f"{number} vectors, {a0.MAX_VECTORS} are the most: no answer")
            return None
        automatic = bool(command.mode & _AUTOMATIC)
        bits = w.unpack_vectors(command.payload)
        self._connect(command.array, automatic, floats=bool(command.mode & _FLOATS))
        self._products[:number] = self._wired.multiply(command.array, bits, automatic)
        self._wired.chip.load_rows(command.array, bits[-1])
        self._wired.chip.advance(1000 * command.delay_us * number)
        self._wired.clear_pins(w.CONNECT_COLUMN, w.CONNECT_TIA, w.FORCE_SAFE_NOTS[command.array])
        return self._products[: command.reply.shape[0]]

    # Pulses ----------------------------------------------------------------------------------------

    def _pulse(self, command: a0.Pulse) -> ArrayLike:
        if command.volt_code != w.SKIP_CODE and command.gate_code != w.SKIP_CODE:
            self._give_one(command, self._wired.timer_ns)
        return a0.HANDSHAKE

    def _timed_pulse(self, command: a0.TimedPulse) -> ArrayLike:
        self._give_one(command, 1000 * command.width_us)
        self._take_off(command.zero_code)
        return a0.HANDSHAKE

    def _give_one(self, command: a0.Pulse | a0.TimedPulse, width_ns: int) -> None:
        cells = np.array([command.row]), np.array([command.col])
        codes = np.array([command.volt_code]), np.array([command.gate_code])
        self._give(command.array, Direction(command.setting), cells, codes, width_ns)

    def _pulse_rows(self, command: a0.PulseRows) -> ArrayLike | None:
        if self._takes_packet(command.row):
            self._batch.take(command.row, command.payload)
        if command.row != a0.LAST_ROW:
            return None
        self._give_batch(command, self._wired.timer_ns)
        return a0.HANDSHAKE

    def _takes_packet(self, row: int) -> bool:
        """Whether the line hands a packet on; the last one of a batch always."""
        batch = self._batch
        if row == a0.LAST_ROW:
            batch.sent, batch.sent_before = 0, max(1, batch.sent)
            return True
        lost = LOST_PACKET in self._faults and batch.sent == 17 * batch.count % batch.sent_before
        batch.sent += 1
        self.lost_packets += lost
        return not lost

    def _timed_pulse_rows(self, command: a0.TimedPulseRows) -> ArrayLike | None:
        self._batch.take(command.row, command.payload)
        if command.row != a0.LAST_ROW:
            return None
        width_us, zero_code = command.width_us, command.zero_code
        if STRAY_WIDTH in self._faults:
            width_us, zero_code = 7919 * (self._batch.count + 1) % 5000, 40503 * self._batch.count % 65536
        self._give_batch(command, 1000 * width_us)
        self._take_off(zero_code)
        return a0.HANDSHAKE

    def _give_batch(self, command: a0.PulseRows | a0.TimedPulseRows, width_ns: int) -> None:
        rows, cols = cells = self._batch.cells()
        self._batch.count += 1
        if len(rows):
            codes = self._batch.codes[rows, cols], self._batch.codes[LINES + rows, cols]
            self._give(command.array, Direction(command.setting), cells, codes, width_ns)

    def _give(
        self,
        array: int,
        direction: Direction,
        cells: Cells,
        codes: tuple[NDArray[Any], NDArray[Any]],
        width_ns: int,
    ) -> None:
        """Pulse devices one after the other; the last one's voltages stay on the rails."""
        wired, setting = self._wired, direction is Direction.SET
        rows, cols = cells
        volts, gates = (np.asarray(each, dtype=np.int64) for each in codes)
        self._select(array, int(rows[-1]), int(cols[-1]))
        self._reset_engine()
        wired.set_pin(w.FORCE_SAFE_NOTS[array])
        wired.set_pin(w.WRITE_FORWARD, setting)
        wired.set_pin(w.ROW_WRITE_CONNECT if setting else w.COLUMN_WRITE_CONNECT)
        wired.dac.put_out(Rail.TVDD, int(gates[-1]))
        wired.dac.put_out(Rail.VP_PAD, int(volts[-1]))
        if wired.connected_direction() is direction:
            wired.pulse(array, cells, direction, volts, gates, width_ns)
        wired.clear_pins(w.FORCE_SAFE_NOTS[array], w.ROW_WRITE_CONNECT, w.WRITE_FORWARD)

    def _take_off(self, zero_code: int) -> None:
        """After a pulse timed by the firmware."""
        for rail in (Rail.TVDD, Rail.VP_PAD):
            self._wired.dac.put_out(rail, zero_code)
