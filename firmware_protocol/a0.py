"""The command set of the A0 board: every command once, its fields, ranges, payload and reply; no I/O.

There is no checksum, no sequence number and no error reply, and a reply is lost while another is on its
way: ask one thing at a time. How messages are found in bytes is in `firmware_protocol.a0_frame`, what
pins, registers, DAC words and scan chains mean in `firmware_protocol.a0_words`.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from firmware_protocol.a0_wire import (
    DONE,
    LINES,
    NO_REPLY,
    Array,
    Bit,
    Byte,
    Code,
    Decimal,
    Line,
    Micros,
    Nibble,
    Payload,
    Port,
    SwappedWord,
    Whole,
)
from firmware_protocol.a0_wire import HANDSHAKE as HANDSHAKE
from firmware_protocol.a0_wire import A0Error as A0Error
from firmware_protocol.a0_wire import Command as Command
from firmware_protocol.a0_wire import Reply as Reply

MAX_VECTORS: Final = 60
"""Most vectors of a `Multiply`: asked for more, the board never answers."""

LAST_ROW: Final = 2 * LINES - 2
"""Row of the packet of a batch that starts the pulses."""

_U16, _U32 = Reply("<u2", ()), Reply("<u4", ())
_CELLS = Reply("<u2", (LINES, LINES))
_CHAIN = Payload(b"\x01", unit=1)
_ROW_PAIR = Payload(b"0", fixed=4 * LINES)
"""Codes of two rows, little-endian uint16."""

_Fifo = Annotated[int, Whole(0, 11)]
_Chain = Annotated[int, Whole(0, 2)]
_Mode = Annotated[int, Whole(0, 3)]
_Span = Annotated[int, Whole(0, 4)]
_EvenRow = Annotated[int, Whole(0, LAST_ROW)]
_Divider = Annotated[int, Whole(1, 0xFFFF)]


# Tests of the line


@dataclass(frozen=True)
class Print(Command):
    """Prints a number on the debug port."""

    CODE: ClassVar[int] = 101
    number: Decimal


@dataclass(frozen=True)
class Count(Command):
    """Answers 0, 100000, 200000, ..."""

    CODE: ClassVar[int] = 103
    REPLY: ClassVar[Reply] = Reply("<i4", (64,))


# Pins and buses


@dataclass(frozen=True)
class WritePort(Command):
    """Sets all sixteen pins of a port."""

    CODE: ClassVar[int] = 201
    port: Port
    value: Code


@dataclass(frozen=True)
class ReadPort(Command):
    """Answers the levels of all pins of a port."""

    CODE: ClassVar[int] = 202
    REPLY: ClassVar[Reply] = _U32
    port: Port


@dataclass(frozen=True)
class SetLineData(Command):
    """Puts 16 bits on the data bus of the row and column registers."""

    CODE: ClassVar[int] = 203
    bits: Code


@dataclass(frozen=True)
class SetLineBank(Command):
    """Selects banks of the row and column registers, a bit each; deselects all FIFOs (one port)."""

    CODE: ClassVar[int] = 204
    banks: Nibble


@dataclass(frozen=True)
class SetFifoEnable(Command):
    """Selects a FIFO; deselects all register banks (one port)."""

    CODE: ClassVar[int] = 205
    value: Nibble


@dataclass(frozen=True)
class ReadAdcBus(Command):
    """Answers the 13 bits on the ADC bus."""

    CODE: ClassVar[int] = 207
    REPLY: ClassVar[Reply] = _U32


@dataclass(frozen=True)
class SetSlewRate(Command):
    """Sets how fast pins (a bit each) of a port switch; 0 is fastest."""

    CODE: ClassVar[int] = 210
    port: Port
    mask: Code
    rate: _Mode


@dataclass(frozen=True)
class SetPin(Command):
    """Sets a pin high."""

    CODE: ClassVar[int] = 211
    port: Port
    pin: Nibble


@dataclass(frozen=True)
class ClearPin(Command):
    """Sets a pin low."""

    CODE: ClassVar[int] = 212
    port: Port
    pin: Nibble


@dataclass(frozen=True)
class TogglePin(Command):
    """Turns a pin's level over."""

    CODE: ClassVar[int] = 213
    port: Port
    pin: Nibble


@dataclass(frozen=True)
class WriteDac(Command):
    """Sends the board's DAC a word as it takes it: operation << 20 | channel << 16 | code."""

    CODE: ClassVar[int] = 214
    word: SwappedWord


@dataclass(frozen=True)
class ShiftChain(Command):
    """Loads a scan chain, without an answer."""

    CODE: ClassVar[int] = 215
    PAYLOAD: ClassVar[Payload | None] = _CHAIN
    chain: _Chain
    payload: bytes


@dataclass(frozen=True)
class ReadMonitors(Command):
    """Answers the microcontroller's own five ADC channels, 12 bits of 3.3 V each."""

    CODE: ClassVar[int] = 216
    REPLY: ClassVar[Reply] = Reply("<u4", (5,))


@dataclass(frozen=True)
class StartClock(Command):
    """Starts a clock output: 0 the array's, 2 the ADCs'."""

    CODE: ClassVar[int] = 217
    clock: _Mode


@dataclass(frozen=True)
class StopClock(Command):
    """Stops a clock output. A read without the ADCs' clock hangs the board for good."""

    CODE: ClassVar[int] = 218
    clock: _Mode


@dataclass(frozen=True)
class ExchangeChain(Command):
    """Loads a scan chain and answers what came out of it.

    The lab's client leaves out the comma before the payload and adds one after the NUL: the board takes
    all but its first byte, and the NUL.
    """

    CODE: ClassVar[int] = 219
    PAYLOAD: ClassVar[Payload | None] = Payload(b"\x01", unit=1, ends=b"\0,")
    chain: _Chain
    payload: bytes

    @property
    def reply(self) -> Reply:
        """As many bytes as were sent."""
        return Reply("u1", (len(self.payload),))


@dataclass(frozen=True)
class SetClock(Command):
    """Sets a clock to 200 MHz / (2 × divider). `base` picks its source; only 0 is of use."""

    CODE: ClassVar[int] = 220
    clock: _Mode
    base: Code
    divider: _Divider


@dataclass(frozen=True)
class SetCalibrationMux(Command):
    """Writes a byte to the calibration multiplexers."""

    CODE: ClassVar[int] = 221
    address: Byte
    data: Byte


@dataclass(frozen=True)
class MakeInput(Command):
    """Makes a pin an input."""

    CODE: ClassVar[int] = 230
    port: Port
    pin: Nibble


@dataclass(frozen=True)
class MakeOutput(Command):
    """Makes a pin an output."""

    CODE: ClassVar[int] = 231
    port: Port
    pin: Nibble


# Chip: one FIFO, the test input, scan chains, the DAC


@dataclass(frozen=True)
class ReadFifo(Command):
    """Answers the words of one FIFO."""

    CODE: ClassVar[int] = 301
    REPLY: ClassVar[Reply] = Reply("<u2", (16,))
    fifo: _Fifo


@dataclass(frozen=True)
class SetTestInput(Command):
    """Sets channel 9 of the DAC, the ADCs' test input."""

    CODE: ClassVar[int] = 302
    dac_code: Code


@dataclass(frozen=True)
class LoadChain(Command):
    """Loads a scan chain; answered when done."""

    CODE: ClassVar[int] = 303
    REPLY: ClassVar[Reply] = DONE
    PAYLOAD: ClassVar[Payload | None] = _CHAIN
    chain: _Chain
    payload: bytes


@dataclass(frozen=True)
class ResetDac(Command):
    """Clears the DAC and sets the span of all its channels."""

    CODE: ClassVar[int] = 304
    span: _Span


@dataclass(frozen=True)
class ConvertTestInput(Command):
    """Converts the test input with one ADC; answers its word."""

    CODE: ClassVar[int] = 412
    REPLY: ClassVar[Reply] = _U16
    fifo: _Fifo


# Reads


@dataclass(frozen=True)
class ReadCell(Command):
    """Reads one device; answers its 13-bit word. `automatic`: the chip finds the gain."""

    CODE: ClassVar[int] = 401
    REPLY: ClassVar[Reply] = _U16
    array: Array
    row: Line
    col: Line
    automatic: Bit


@dataclass(frozen=True)
class ReadCells(Command):
    """Reads all devices of an array one by one, row by row, waiting after each; words (rows, cols)."""

    CODE: ClassVar[int] = 402
    REPLY: ClassVar[Reply] = _CELLS
    array: Array
    automatic: Bit
    delay_us: Micros


@dataclass(frozen=True)
class ReadCellsByColumn(Command):
    """As `ReadCells`, column by column and without waiting; words (rows, cols) all the same."""

    CODE: ClassVar[int] = 502
    REPLY: ClassVar[Reply] = _CELLS
    array: Array
    automatic: Bit


@dataclass(frozen=True)
class ReadAgain(Command):
    """Fires a read with rows, columns and switches as they are; answers the word of (row, col)."""

    CODE: ClassVar[int] = 411
    REPLY: ClassVar[Reply] = _U16
    array: Array
    row: Line
    col: Line
    automatic: Bit
    before_us: Micros
    after_us: Micros
    end_us: Micros
    pulse_steps: Micros
    """Of 0.04 µs."""


@dataclass(frozen=True)
class Multiply(Command):
    """Products of vectors with the columns loaded before; words (vectors, cols).

    mode: bit 0 floats unselected rows instead of holding them at the reference, bit 1 lets the chip find the
    gain. The words' rows are padded to a multiple of four with old ones. Over `MAX_VECTORS`: no answer.
    """

    CODE: ClassVar[int] = 403
    PAYLOAD: ClassVar[Payload | None] = Payload(b"\x01", unit=8)
    array: Array
    mode: _Mode
    delay_us: Micros
    payload: bytes
    """Per vector 64 bits, big-endian; bit i is row i."""

    @property
    def vectors(self) -> int:
        """How many there are."""
        return len(self.payload) // 8

    @property
    def reply(self) -> Reply:
        """Words (vectors and padding, cols)."""
        return Reply("<u2", (-(-self.vectors // 4) * 4, LINES)) if self.vectors <= MAX_VECTORS else NO_REPLY


# Pulses. `setting`: 1 SET, 0 RESET. Voltage and gate codes are of the DAC.


@dataclass(frozen=True)
class Pulse(Command):
    """Gives one device a pulse timed by the chip; with either code 0 nothing but the answer happens."""

    CODE: ClassVar[int] = 404
    REPLY: ClassVar[Reply] = DONE
    array: Array
    row: Line
    col: Line
    setting: Bit
    volt_code: Code
    gate_code: Code


@dataclass(frozen=True)
class PulseRows(Command):
    """Two rows of codes of a batch: rows 0-63 voltages, 64-127 gates of row - 64.

    `LAST_ROW` starts one pulse for each device neither of whose codes is 0, row by row, and is answered when
    all are through. Rows that were not sent keep their codes of the last batch.
    """

    CODE: ClassVar[int] = 405
    PAYLOAD: ClassVar[Payload | None] = _ROW_PAIR
    array: Array
    setting: Bit
    row: _EvenRow
    payload: bytes

    @property
    def reply(self) -> Reply:
        """A handshake after the last row."""
        return DONE if self.row == LAST_ROW else NO_REPLY


@dataclass(frozen=True)
class TimedPulse(Command):
    """Gives one device a pulse timed by the firmware; code 0 is no exception here but -10 V."""

    CODE: ClassVar[int] = 406
    REPLY: ClassVar[Reply] = DONE
    array: Array
    row: Line
    col: Line
    setting: Bit
    volt_code: Code
    gate_code: Code
    zero_code: Code
    """Of 0 V."""
    width_us: Micros


@dataclass(frozen=True)
class TimedPulseRows(Command):
    """As `PulseRows`, timed by the firmware.

    Firmware so far hands its worker neither `zero_code` nor `width_us`: it takes what the stack holds.
    """

    CODE: ClassVar[int] = 407
    PAYLOAD: ClassVar[Payload | None] = _ROW_PAIR
    array: Array
    setting: Bit
    zero_code: Code
    width_us: Micros
    row: _EvenRow
    payload: bytes

    @property
    def reply(self) -> Reply:
        """A handshake after the last row."""
        return DONE if self.row == LAST_ROW else NO_REPLY


COMMANDS: Final = dict(Command.BY_CODE)
"""All commands by number."""
