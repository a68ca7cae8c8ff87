"""A chip as the A0 board's pins see it: latches, resets, scan chains, clocks, FIFOs, reads and pulses.

Nothing here knows commands: what a pin's edge does follows from the levels of all others, so a host that
drives pins by itself gets what the firmware's own sequences get. Which FIFO a value of FIFO_EN selects
(its number) and the order of the TIAs in their chains (that of the FIFOs: the first six below, the others
above) are assumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import LINES, PORTS
from firmware_protocol.a0_words import Control, Pin
from firmware_protocol.rails import Rail
from sim_chip.a0_dac import BoardDac
from sim_chip.chip import VirtualChip
from sim_chip.converters import FIFO_DEPTH, FIFOS_PER_ARRAY, dac_code, fifos
from sim_chip.device import Direction

_log = logging.getLogger(__name__)

WordArray = NDArray[np.uint16]
Codes = NDArray[np.int64]

ARRAYS: Final = 3
_FIFOS: Final = ARRAYS * FIFOS_PER_ARRAY
_CHAIN_BYTES: Final = (w.TIA_CHAIN_BYTES, w.TIA_CHAIN_BYTES, 7)
_SAMPLE_NS: Final = (20, 1_000_000)
_REFERENCES: Final = (Rail.VREF_ARRAY, Rail.VREF_TIA, Rail.VREF_HI_CMP, Rail.VREF_SH)
_LEAST_REFERENCE_VOLTS: Final = 0.2
_LEAST_PULSE_VOLTS: Final = 0.1
_HOST_PULSE_NS: Final = 125_000
"""Width of a pulse that a host makes by VP_PAD or switches: the least time between two USB messages."""


class HungError(Exception):
    """The firmware waits for a conversion that never ends."""


class WiredChip:
    """A chip of three arrays, behind pins that are all low and clocks that stand."""

    def __init__(self, chip: VirtualChip) -> None:
        if chip.parameters.arrays != ARRAYS or chip.parameters.row_code_max != 1:
            raise ValueError(f"the A0 board is for {ARRAYS} arrays and row drivers of one bit")
        self.chip = chip
        self.dac = BoardDac(chip)
        self.unsafe_pulses = 0
        """Pulses on devices while power, resets, clocks or references were not as they must be."""
        self.complaints = 0
        self.last_complaint = ""
        self._levels = dict.fromkeys(PORTS, 0)
        self._inputs = dict.fromkeys(PORTS, 0)
        self._dividers = {w.ARRAY_CLOCK: w.BOOT_DIVIDER, w.ADC_CLOCK: w.BOOT_DIVIDER}
        self._running: set[int] = set()
        self._edges: dict[tuple[Pin, bool], Callable[[], None]] = {
            (w.LATCH, True): self._latch,
            (w.UPDATE_TIA, True): self._update_tias,
            (w.CHIP_RESET_NOT, False): self._reset_chip,
            (w.POWER_GOOD, False): self._reset_chip,
            (w.DPE_RESET_NOT, False): self._reset_engine,
            (w.FIFO_ADVANCE, True): self._advance,
            (w.DPE_PULSE, True): self._dpe_pulse,
            (w.AGC_PULSE, True): self._agc_pulse,
            (w.DPE_EXTERNAL_HOLD, True): self._external_hold,
            (w.WRITE_PULSE, True): self._write_pulse,
            (w.CONNECT_COLUMN, False): self._end_host_pulse,
            (w.DAC_CLEAR_NOT, False): self.dac.clear,
        }
        self._reset_chip()
        self._reset_engine()
        self.write_port("H", w.BOOT_PORT_H)

    def complain(self, text: str) -> None:
        """Say on the debug port what is wrong."""
        self.complaints += 1
        self.last_complaint = text
        _log.warning("A0 board: %s", text)

    # Pins ----------------------------------------------------------------------------------------

    def level(self, pin: Pin) -> bool:
        """Whether the board drives a pin high."""
        return bool(self._levels[pin.port] >> pin.number & 1)

    def set_pin(self, pin: Pin, level: bool = True) -> None:
        """Drive one pin."""
        mask = 1 << pin.number
        held = self._levels[pin.port]
        self.write_port(pin.port, held | mask if level else held & ~mask)

    def clear_pins(self, *pins: Pin) -> None:
        """Drive pins low, one after the other."""
        for pin in pins:
            self.set_pin(pin, False)

    def write_port(self, port: str, value: int) -> None:
        """Drive all pins of a port at once; edges act from pin 0 up."""
        changed = self._levels[port] ^ value
        self._levels[port] = value
        while changed:
            number = (changed & -changed).bit_length() - 1
            changed &= changed - 1
            react = self._edges.get((Pin(port, number), bool(value >> number & 1)))
            if react is not None:
                react()

    def make_input(self, pin: Pin, is_input: bool) -> None:
        """Stop driving a pin, or begin to."""
        mask = 1 << pin.number
        self._inputs[pin.port] = self._inputs[pin.port] & ~mask | (mask if is_input else 0)

    def read_port(self, port: str) -> int:
        """The levels on a port: what the board drives, and what the chip does."""
        driven = {pin: bool(self.adc_bus >> bit & 1) for bit, pin in enumerate(w.ADC_BUS)}
        driven[w.ADC_DONE] = self._done
        value = self._levels[port] & ~self._inputs[port]
        for pin, level in driven.items():
            if pin.port == port:
                value = value & ~(1 << pin.number) | level << pin.number
        return value

    def write_bus(self, pins: tuple[Pin, ...], value: int) -> None:
        """Drive a bus, lowest bit first."""
        for bit, pin in enumerate(pins):
            self.set_pin(pin, bool(value >> bit & 1))

    # Clocks --------------------------------------------------------------------------------------

    def start_clock(self, clock: int, running: bool) -> None:
        """Start or stop a clock output."""
        self._running = self._running | {clock} if running else self._running - {clock}
        self._take_sample_time()

    def set_divider(self, clock: int, base: int, divider: int) -> None:
        """Set a clock's frequency; with a base, nobody knows to what, so it stands."""
        if base:
            self.complain(f"clock {clock} set to base {base}: its source is not known, it stands")
            self._dividers.pop(clock, None)
        else:
            self._dividers[clock] = divider
        self._take_sample_time()

    def period_ns(self, clock: int) -> float | None:
        """Of a clock; None where it stands."""
        divider = self._dividers.get(clock)
        return None if divider is None or clock not in self._running else 1e9 / w.clock_hertz(divider)

    def _take_sample_time(self) -> None:
        """Let the chip sample when the control chain's count has run down."""
        period = self.period_ns(w.ARRAY_CLOCK)
        if period is None:
            return
        low, high = _SAMPLE_NS
        duration = min(max(round((self.control.sample + 2) * period / 20) * 20, low), high)
        for gain, held in enumerate(self.chip.sample_ns):
            if held != duration:
                self.chip.set_sample_ns(gain, duration)

    # Resets, registers and chains ------------------------------------------------------------------

    def _reset_chip(self) -> None:
        """Clear scan values, TIAs and registers."""
        self._chains = [bytes(size) for size in _CHAIN_BYTES]
        self.control = Control(*bytes(7))
        self._is_configured = False
        self._tia_words = np.zeros((ARRAYS, LINES), dtype=np.uint16)
        self._loaded: list[bool | None] = [None] * ARRAYS
        for array in range(ARRAYS):
            for columns in (False, True):
                self.chip.latch(array, 0, 0b1111, columns=columns)

    def _reset_engine(self) -> None:
        """Clear FIFOs and what tells of a conversion."""
        self._fifos = np.zeros((_FIFOS, FIFO_DEPTH), dtype=np.uint16)
        self._next = [0] * _FIFOS
        self._done = False

    def _latch(self) -> None:
        data = sum(self.level(pin) << bit for bit, pin in enumerate(w.LINE_DATA))
        banks = self._levels["K"] & 0xF
        for array, enable in enumerate(w.ARRAY_ENABLES):
            if self.level(enable):
                self.chip.latch(array, data, banks, columns=self.level(w.COLUMN_REGISTER))

    def shift(self, chain: int, data: bytes) -> bytes:
        """Shift bytes into a scan chain; as many come out at its end."""
        line = self._chains[chain] + data
        self._chains[chain] = line[len(data) :]
        if chain == w.CONTROL_CHAIN:
            self.control = Control.unpack(self._chains[chain])
            self._is_configured = True
            self._take_sample_time()
        return line[: len(data)]

    def _update_tias(self) -> None:
        """Apply both TIA chains, word by word in the order of the FIFOs."""
        words = np.concatenate([w.unpack_tia_words(self._chains[chain]) for chain in w.TIA_CHAINS])
        for array in range(ARRAYS):
            addresses = [self.chip.fifo_address(array, col) for col in range(LINES)]
            self._tia_words[array] = words[[FIFO_DEPTH * fifo + word for fifo, word in addresses]]
        self._loaded = [None] * ARRAYS

    def _use_tias(self, array: int, automatic: bool) -> None:
        """See that an array's TIAs are set as loaded, and find their gain by themselves or not."""
        if self._loaded[array] is automatic:
            return
        try:
            self.chip.load_tia(array, self._tia_words[array], automatic=automatic, steady=True)
        except ValueError as error:
            self.complain(f"{error}; array {array}'s TIAs are off")
            self.chip.load_tia(array, np.zeros(LINES, dtype=np.uint16))
        self._loaded[array] = automatic

    # Conversions -----------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether the chip has power and is out of reset."""
        return self.level(w.POWER_GOOD) and self.level(w.CHIP_RESET_NOT)

    def check_converts(self) -> None:
        """Wait for a conversion.

        Raises:
            HungError: It never ends.
        """
        stopped = [
            name for clock, name in ((0, "the array's"), (2, "the ADCs'")) if not self.period_ns(clock)
        ]
        if stopped:
            raise HungError(f"no conversion ends: {' and '.join(stopped)} clock stands")
        if not (self.is_alive and self.level(w.DPE_RESET_NOT)):
            raise HungError("no conversion ends: the chip has no power or is in reset")

    def read_cells(self, array: int, rows: ArrayLike, cols: ArrayLike, automatic: bool) -> WordArray:
        """Words (n,) of devices read one by one."""
        self.check_converts()
        self._use_tias(array, automatic)
        return self.chip.read_cells(array, rows, cols)[:, 0]

    def multiply(self, array: int, bits: NDArray[np.uint8], automatic: bool) -> WordArray:
        """Words (vectors, 64) of products with the selected columns, in their order.

        Rows that float sit at the reference by themselves, as all columns do, so they are held there.
        """
        self.check_converts()
        self._use_tias(array, automatic)
        words = self.chip.multiply(array, bits, self.chip.selected(array)[1]).reshape(len(bits), LINES)
        return words[:, self.chip.column_order(array)]

    def convert_test_input(self, fifo: int) -> WordArray:
        """Words (16,) of the test input."""
        self.check_converts()
        return self.chip.convert_test_input(fifo, FIFO_DEPTH)

    def convert(self, automatic: bool) -> None:
        """Convert whatever is connected; without clocks or power nothing ever comes of it."""
        try:
            self.check_converts()
        except HungError as error:
            self.complain(str(error))
            return
        if self.level(w.ADC_EXTERNAL):
            for fifo in range(_FIFOS):
                self._fill(fifo, self.convert_test_input(fifo))
        for array, safe_not in enumerate(w.FORCE_SAFE_NOTS):
            if self.level(safe_not) and not self.level(w.ADC_EXTERNAL):
                self._convert_array(array, automatic)
        self._done = True

    def _convert_array(self, array: int, automatic: bool) -> None:
        switches = (w.READ_BIT, w.CONNECT_TIA, w.CONNECT_COLUMN)
        rows, columns = self.chip.selected(array)
        # Without all switches no current flows, but there is a conversion all the same
        driven = rows if all(self.level(switch) for switch in switches) else np.zeros_like(rows)
        is_one = driven.sum() == 1 and columns.sum() == 1
        self._use_tias(array, automatic)
        self.chip.load_rows(array, driven)
        self.chip.convert(array, float_rows=bool(is_one and not self.level(w.READ_DPE)))
        self.chip.load_rows(array, rows)
        for fifo in fifos(array):
            self._fill(fifo, self.chip.fifo(fifo))

    def _fill(self, fifo: int, words: WordArray) -> None:
        self._fifos[fifo] = words
        self._next[fifo] = 0

    def _dpe_pulse(self) -> None:
        if self.level(w.DPE_INTERNAL):
            self.convert(automatic=False)

    def _agc_pulse(self) -> None:
        if self.level(w.AGC_INTERNAL):
            self.convert(automatic=True)

    def _external_hold(self) -> None:
        """A rising edge holds the sample, and the converters begin."""
        if self.level(w.DPE_EXTERNAL):
            self.convert(automatic=False)

    # FIFOs -----------------------------------------------------------------------------------------

    @property
    def _selected_fifo(self) -> int:
        return self._levels["K"] >> 4 & 0xF

    @property
    def adc_bus(self) -> int:
        """The word on the bus: the next one of the selected FIFO, the last once it is empty."""
        fifo = self._selected_fifo
        return int(self._fifos[fifo][min(self._next[fifo], FIFO_DEPTH - 1)]) if fifo < _FIFOS else 0

    def _advance(self) -> None:
        if self._selected_fifo < _FIFOS:
            self._next[self._selected_fifo] += 1

    def download(self, fifo: int) -> WordArray:
        """All words of a FIFO, selected and advanced through."""
        self.write_port("K", fifo << 4)
        words = []
        for _ in range(FIFO_DEPTH):
            words.append(self.adc_bus)
            self._advance()
        return np.array(words, dtype=np.uint16)

    # Pulses ----------------------------------------------------------------------------------------

    @property
    def timer_ns(self) -> int:
        """Width of a pulse timed by the chip; 0 where there is none.

        On the chip's grid: 20 ns up to 5.08 µs, 1 µs above.
        """
        period = self.period_ns(w.ARRAY_CLOCK)
        if period is None:
            return 0
        width = (self.control.write_end - self.control.write_start) * period
        timing = self.chip.parameters.timing
        step = timing.timer_step_ns if width <= timing.timer_limit_ns else 1000
        return max(0, round(width / step) * step)

    def pulse(
        self,
        array: int,
        cells: tuple[NDArray[np.intp], NDArray[np.intp]],
        direction: Direction,
        volt_codes: Codes,
        gate_codes: Codes,
        width_ns: int,
    ) -> None:
        """Pulse devices (rows, cols), one after the other, at the board's codes of VP_PAD and TVDD (n,).

        One whose line and gate stay at 0 V gets none.
        """
        rows, cols = cells
        if reasons := self.unsafe_because():
            self.unsafe_pulses += len(rows)
            self.complain(f"{len(rows)} pulses out of the safe order: {'; '.join(reasons)}")
        if not self.is_alive or width_ns == 0 or not len(rows):
            return
        volts = self.dac.rail_codes(Rail.VP_PAD, volt_codes)
        gates = self.dac.rail_codes(Rail.TVDD, gate_codes)
        given = (volts != dac_code(0.0)) | (gates != dac_code(0.0))
        self.chip.pulse(array, rows[given], cols[given], direction, volts[given], gates[given], width_ns)

    def unsafe_because(self) -> list[str]:
        """What of the safe power sequence is missing for a pulse."""
        low = [rail.name for rail in _REFERENCES if self.dac.volts(rail) < _LEAST_REFERENCE_VOLTS]
        faults = {
            "power is not good": not self.level(w.POWER_GOOD),
            "the chip is in reset": not self.level(w.CHIP_RESET_NOT),
            "its engine is in reset": not self.level(w.DPE_RESET_NOT),
            "the DAC's span is not ±10 V": any(span != w.SPAN for span in self.dac.spans),
            f"references at 0 V: {', '.join(low)}": bool(low),
            "the array's clock stands": self.period_ns(w.ARRAY_CLOCK) is None,
            "the control chain was not loaded since the reset": not self._is_configured,
        }
        return [reason for reason, holds in faults.items() if holds]

    def connected_direction(self) -> Direction | None:
        """What a pulse would do by the switches; None, with a complaint, where they contradict each other."""
        to_row, to_column = self.level(w.ROW_WRITE_CONNECT), self.level(w.COLUMN_WRITE_CONNECT)
        if to_row == to_column or to_row != self.level(w.WRITE_FORWARD):
            self.complain(f"a pulse with VP_PAD {'on both lines' if to_row else 'on no line'} of a device")
            return None
        return Direction.SET if to_row else Direction.RESET

    def write_dac(self, word: int) -> bool:
        """Do what a word for the DAC asks; False where it knows none such. VP_PAD may end a host's pulse."""
        if word >> 16 & 0xF == Rail.VP_PAD and self.level(w.CONNECT_COLUMN):
            self._end_host_pulse()
        return self.dac.obey(word)

    def _end_host_pulse(self) -> None:
        """Count what lay on devices by WRITE_EXTERNAL as a pulse: its voltage or gates are taken off now.

        Messages take no time on the chip's clock, so it lasts as long as the fastest host would make it.
        """
        if self.level(w.WRITE_EXTERNAL) and self.dac.volts(Rail.VP_PAD) > _LEAST_PULSE_VOLTS:
            self._pulse_selected(_HOST_PULSE_NS)

    def _write_pulse(self) -> None:
        """Fire the chip's own timer; gates have their voltage through CONNECT_COLUMN."""
        if self.level(w.WRITE_INTERNAL) and self.level(w.CONNECT_COLUMN):
            self._pulse_selected(self.timer_ns)

    def _pulse_selected(self, width_ns: int) -> None:
        """Pulse all selected devices of the arrays that are not held safe, as rails and switches are."""
        direction = self.connected_direction()
        if direction is None:
            return
        for array, safe_not in enumerate(w.FORCE_SAFE_NOTS):
            rows, columns = (np.flatnonzero(bits) for bits in self.chip.selected(array))
            if self.level(safe_not) and len(rows) and len(columns):
                grid = np.meshgrid(rows, columns, indexing="ij")
                cells = grid[0].ravel(), grid[1].ravel()
                volts, gates = (
                    np.full(len(cells[0]), self.dac.code(rail)) for rail in (Rail.VP_PAD, Rail.TVDD)
                )
                self.pulse(array, cells, direction, volts, gates, width_ns)
