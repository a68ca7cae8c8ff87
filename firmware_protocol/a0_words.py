"""What the A0 board's pins, registers, DAC words, scan chains, vectors and FIFO words mean.

Lines: rows 0-63 and columns 0-63 of one array. Voltages in V, times in s, where a name does not say else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol.a0_wire import LINES, A0Error

Codes = NDArray[np.uint16]


# Pins


class Pin(NamedTuple):
    """One pin of the microcontroller."""

    port: str
    number: int


ADC_DONE: Final = Pin("G", 1)
FIFO_ADVANCE: Final = Pin("G", 0)
COLUMN_REGISTER: Final = Pin("F", 12)
"""High: column registers are loaded; low: row registers."""
LATCH: Final = Pin("E", 7)
ARRAY_ENABLES: Final = (Pin("H", 3), Pin("H", 6), Pin("H", 7))
FORCE_SAFE_NOTS: Final = (Pin("B", 9), Pin("G", 13), Pin("E", 2))
"""Low: the array is held safe."""
READ_BIT: Final = Pin("A", 10)
READ_DPE: Final = Pin("A", 14)
"""High: unselected rows sit at the TIAs' reference; low: they float."""
CONNECT_COLUMN: Final = Pin("A", 15)
CONNECT_TIA: Final = Pin("F", 4)
COLUMN_WRITE_CONNECT: Final = Pin("F", 13)
ROW_WRITE_CONNECT: Final = Pin("G", 8)
WRITE_FORWARD: Final = Pin("E", 8)
WRITE_EXTERNAL: Final = Pin("E", 9)
WRITE_INTERNAL: Final = Pin("B", 10)
WRITE_PULSE: Final = Pin("E", 1)
WRITE_ADD_CAP: Final = Pin("B", 15)
DPE_INTERNAL: Final = Pin("B", 7)
DPE_PULSE: Final = Pin("G", 12)
AGC_INTERNAL: Final = Pin("B", 11)
AGC_PULSE: Final = Pin("E", 0)
DPE_EXTERNAL: Final = Pin("D", 10)
DPE_EXTERNAL_PULSE: Final = Pin("C", 1)
DPE_EXTERNAL_HOLD: Final = Pin("C", 2)
ADC_EXTERNAL: Final = Pin("G", 7)
DPE_RESET_NOT: Final = Pin("D", 13)
CHIP_RESET_NOT: Final = Pin("E", 6)
POWER_GOOD: Final = Pin("A", 9)
UPDATE_TIA: Final = Pin("C", 13)
CHAIN_SELECTS: Final = (Pin("C", 3), Pin("C", 4))
SCAN_PINS: Final = (Pin("D", 1), Pin("D", 3))
DAC_LOAD: Final = Pin("D", 0)
DAC_CLEAR_NOT: Final = Pin("D", 9)
DAC_TOGGLE: Final = Pin("F", 2)

ADC_BUS: Final = (
    *(Pin("A", bit) for bit in range(8)),
    *(Pin("G", 14), Pin("G", 15), Pin("H", 0), Pin("H", 1), Pin("H", 2)),
)
LINE_DATA: Final = tuple(
    [Pin("H", bit) for bit in (9, 10, 11, 12, 15)]
    + [Pin("J", bit) for bit in (0, *range(2, 8), *range(12, 16))]
)
BOOT_PORT_H: Final = 0xFF
"""What the firmware writes to port H when it starts; all other ports are 0."""


# Row and column registers


def row_place(row: int) -> tuple[int, int]:
    """The (bank, bit) of a row in its array's row register."""
    pair = row % 16 // 2
    bank = (2, 0, 1, 3)[row // 16]
    if row < LINES // 2:
        return bank, pair + 8 * (row % 2)
    return bank, 7 - pair + 8 * (row % 2)


def column_place(col: int) -> tuple[int, int]:
    """The (bank, bit) of a column in its array's column register."""
    upper = col >= LINES // 2
    bit = (col - LINES // 2) // 2 if upper else 15 - col // 2
    return 2 * upper + col % 2, bit


def banks(lines: Iterable[int], *, columns: bool) -> tuple[int, int, int, int]:
    """The 16 bits of each of the four banks that select these rows, or columns."""
    words = [0, 0, 0, 0]
    for line in lines:
        bank, bit = column_place(int(line)) if columns else row_place(int(line))
        words[bank] |= 1 << bit
    return words[0], words[1], words[2], words[3]


# DAC


class Operation(IntEnum):
    """What a word tells the DAC."""

    WRITE = 0x0
    UPDATE = 0x1
    WRITE_AND_UPDATE = 0x3
    SPAN = 0x6
    UPDATE_ALL = 0x9
    SPAN_ALL = 0xE


SPANS: Final = ((0.0, 5.0), (0.0, 10.0), (-5.0, 5.0), (-10.0, 10.0), (-2.5, 2.5))
"""Lowest and highest output by number of the span."""

SPAN: Final = 3
"""The span that everybody uses, ±10 V."""

DAC_TOP: Final = 65_535
ZERO_CODE: Final = 32_767
"""0 V."""

SKIP_CODE: Final = 0
"""For a voltage or gate of a batch: leave this device alone."""

OUTPUT_OFFSET_VOLTS: Final = 0.078
"""How far the board's outputs lie above what their code says."""


def dac_word(operation: Operation, channel: int, code: int) -> int:
    """The word for `WriteDac`; `code` is the span where the operation sets one."""
    if not (0 <= channel <= 15 and 0 <= code <= DAC_TOP):
        raise A0Error(f"the DAC has channels 0 to 15 and codes 0 to {DAC_TOP}, not {channel}, {code}")
    return operation << 20 | channel << 16 | code


def output_code(volts: float) -> int:
    """The code in span ±10 V whose nominal voltage is this or just towards -10 V of it.

    For write and gate voltages of pulses, which the firmware puts out as they are; the line then carries
    `OUTPUT_OFFSET_VOLTS` more. For references and for voltages as they shall be on the line, take that off.

    Raises:
        A0Error: Out of ±10 V.
    """
    low, high = SPANS[SPAN]
    if not low <= volts <= high:
        raise A0Error(f"the DAC puts out {low:g} to {high:g} V, not {volts:g} V")
    return int((volts - low) / (high - low) * DAC_TOP)


# Scan chains

CONTROL_CHAIN: Final = 2
TIA_CHAINS: Final = (0, 1)
"""Bottom and top, each with the words of half the columns of all arrays."""

WORDS_PER_CHAIN: Final = 96
_WORD_BITS = 10
TIA_CHAIN_BYTES: Final = WORDS_PER_CHAIN * _WORD_BITS // 8


def pack_tia_words(words: ArrayLike) -> bytes:
    """The payload that loads 96 words of 10 bits into one of the TIA chains, most significant bit first."""
    given = np.asarray(words, dtype=np.int64)
    if given.shape != (WORDS_PER_CHAIN,) or given.min() < 0 or given.max() >= 1 << _WORD_BITS:
        raise A0Error(f"a TIA chain takes {WORDS_PER_CHAIN} words of {_WORD_BITS} bits")
    bits = given[:, None] >> np.arange(_WORD_BITS)[::-1] & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def unpack_tia_words(payload: bytes) -> Codes:
    """The 96 words that 120 bytes hold."""
    bits = np.unpackbits(np.frombuffer(payload, np.uint8)).reshape(WORDS_PER_CHAIN, _WORD_BITS)
    return (bits.astype(np.int64) @ (1 << np.arange(_WORD_BITS)[::-1])).astype(np.uint16)


@dataclass(frozen=True)
class Control:
    """The counts of the control chain, one byte each; a delay is (count + 2) periods of the array's clock.

    What the first five count is known by their use alone. A pulse timed by the chip lasts
    write_end - write_start periods; for 0 and less there is none.
    """

    read_start: int = 0x10
    read_end: int = 0x02
    gain_search: int = 0x0C
    hold_end: int = 0x10
    sample: int = 0x20
    write_start: int = 0x01
    write_end: int = 0x02

    def pack(self) -> bytes:
        """The payload for chain 2.

        Raises:
            A0Error: A count does not fit a byte.
        """
        try:
            return bytes(vars(self).values())
        except ValueError:
            raise A0Error(f"counts of the control chain are 0 to 255: {self}") from None

    @classmethod
    def unpack(cls, payload: bytes) -> "Control":
        """The counts that seven bytes hold."""
        return cls(*payload)


SAMPLE_COUNTS: Final = (12, 12, 12, 25, 100)
"""`Control.sample` that each gain needs at 50 MHz."""

GAIN_SEARCH_COUNT: Final = 0x24
"""`Control.gain_search` for reads."""

SOURCE_HERTZ: Final = 200_000_000
ARRAY_CLOCK, ADC_CLOCK = 0, 2
BOOT_DIVIDER: Final = 20


def clock_hertz(divider: int) -> float:
    """Frequency of a clock."""
    return SOURCE_HERTZ / (2 * divider)


# Vectors and words


def pack_vectors(bits: ArrayLike) -> bytes:
    """The payload for `Multiply` of row bits (vectors, 64)."""
    given = np.asarray(bits, dtype=bool)
    if given.ndim != 2 or given.shape[1] != LINES:
        raise A0Error(f"vectors are (vectors, {LINES}), not {given.shape}")
    return np.packbits(given[:, ::-1], axis=1).tobytes()


def unpack_vectors(payload: bytes) -> NDArray[np.uint8]:
    """Row bits (vectors, 64)."""
    octets = np.frombuffer(payload, np.uint8).reshape(-1, LINES // 8)
    return np.unpackbits(octets, axis=1)[:, ::-1]


def pack_codes(codes: ArrayLike) -> bytes:
    """The payload for two rows of a batch, codes (2, 64)."""
    given = np.asarray(codes)
    if given.shape != (2, LINES) or given.min() < 0 or given.max() > DAC_TOP:
        raise A0Error(f"two rows of {LINES} codes of 16 bits, not {given.shape}")
    return given.astype("<u2").tobytes()


def unpack_codes(payload: bytes) -> Codes:
    """Codes (2, 64)."""
    return np.frombuffer(payload, "<u2").reshape(2, LINES).astype(np.uint16)


CODE_MASK: Final = 0x3FF
GAIN_SHIFT: Final = 10
"""A FIFO's word: code of the ADC below, index of the gain that was used above."""
