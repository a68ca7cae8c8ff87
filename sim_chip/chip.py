"""VirtualChip: memristor arrays with drivers, TIAs and ADCs, as a microcontroller sees them.

Codes in, codes out. Conductances are integers of 10 pS; random numbers are drawn by counter, so
the same seed and operations give the same words on any machine, in any batching. Time is
simulated: every operation advances the chip's clock by what it takes (`book`).
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import die, registers, state, tias
from sim_chip.book import Book, TimeCause
from sim_chip.converters import (
    AUTO_GAIN,
    FIFO_DEPTH,
    FIFOS_PER_ARRAY,
    Rail,
    dac_code,
    fifo_address,
    fifo_owner,
)
from sim_chip.crossbar import SIEMENS_PER_UNIT
from sim_chip.device import Direction
from sim_chip.faults import FaultPlan
from sim_chip.parameters import ChipParameters
from sim_chip.products import Products
from sim_chip.rails import HIGHEST_UV
from sim_chip.reads import Reads
from sim_chip.sweeps import Sweeps
from sim_chip.switching import Codes, Switching

Floats = NDArray[np.float64]
WordArray = NDArray[np.uint16]

_SAMPLE_STEP_NS = 20
_SAMPLE_LIMIT_NS = 1_000_000

_POWERED_VOLTS = {
    Rail.PLANE_VPP: 0.3,
    Rail.VREF_ARRAY: 0.5,
    Rail.VREF_TIA: 0.5,
    Rail.VREF_HI_CMP: 4.0,
    Rail.VREF_SH: 2.5,
    Rail.TVDD: 5.0,
    Rail.VAGC_0: 1.0,
    Rail.VAGC_1: 3.9,
}


class VirtualChip:
    """A chip of one kind and seed, powered up and ready to read at 0.2 V.

    faults: what is wrong with it, instead of what the kind would draw. conductance: start state
    in S, shape (arrays, rows, cols), NaN where the kind's own is wanted; stuck devices keep
    theirs. path: keep the state in that new file, which then survives the process: when it is
    killed, each pulse, read or block of 64 products has happened as a whole or not at all.
    """

    def __init__(
        self,
        preset: ChipParameters,
        seed: int = 0,
        *,
        faults: FaultPlan | None = None,
        conductance: ArrayLike | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._attach(die.fresh(preset, seed, faults or FaultPlan(), conductance))
        self.power_up()
        if path is not None:
            self._die.state.save(path, new=True)
            self._attach(state.load(path, mapped=True))

    def _attach(self, kept: state.ChipState) -> None:
        self.parameters = kept.parameters
        self.seed = kept.seed
        self._die = die.Die(kept)
        self._products = Products(self._die)
        self._reads = Reads(self._die)
        self._switching = Switching(self._die)
        self._sweeps = Sweeps(self._die, self._reads, self._switching)

    # State -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that makes up this chip now to a file, in one step."""
        self._die.state.save(path)

    @classmethod
    def restore(cls, path: str | os.PathLike[str], *, mapped: bool = False) -> VirtualChip:
        """Return the saved chip, going on as if never interrupted.

        With `mapped` it keeps its state in that file from now on. Wires are not solved again. What
        a killed process left half done is taken back.
        """
        chip = cls.__new__(cls)
        chip._attach(state.load(path, mapped=mapped))  # noqa: SLF001 - our own class
        return chip

    @property
    def book(self) -> Book:
        """Simulated time and energy so far, by cause, and counts."""
        return self._die.book

    @property
    def board_fj(self) -> int:
        """What board and microcontroller took while at work, all but waiting; not in the chip's book."""
        at_work_ns = self.clock_ns - int(self.book.time_ns[TimeCause.WAIT])
        return 1000 * self.parameters.energy.board_mw * at_work_ns

    # Rails and gains ---------------------------------------------------------------------------

    def power_up(self) -> None:
        """Set every rail for reading at 0.2 V with 5 V on the gates; pulse rail at 0 V."""
        for rail in Rail:
            self.set_rail(rail, dac_code(_POWERED_VOLTS.get(rail, 0.0)))

    def power_down(self) -> None:
        """Set every rail to 0 V: reads answer zero and nothing moves."""
        for rail in Rail:
            self.set_rail(rail, dac_code(0.0))

    def set_rail(self, channel: int, code: int) -> None:
        """Set one channel (0-15) of the board's DAC to a 16-bit code, ±10 V.

        Outside its range a rail spoils reads and pulses as `sim_chip.rails` tells.
        """
        if not 0 <= code <= 0xFFFF:
            raise ValueError(f"a DAC code is 0 to 65535, not {code}")
        if self.rail(channel) != code:
            self._die.state.rails[Rail(channel)] = code
            self._die.take_power()

    def rail(self, channel: int) -> int:
        """Return the code of one channel."""
        return int(self._die.state.rails[Rail(channel)])

    def set_supply(self, microvolts: int) -> None:
        """Set the chip's own supply, nominally 5 V; outside 4.5-5.5 V it is browned out."""
        if not 0 <= microvolts <= HIGHEST_UV:
            raise ValueError(f"a supply of {microvolts} µV destroys the chip; 0 to {HIGHEST_UV} µV")
        self._die.state.supply_uv[0] = microvolts
        self._die.take_power()

    @property
    def supply_uv(self) -> int:
        """The chip's own supply."""
        return int(self._die.state.supply_uv[0])

    def set_gain(self, array: int, gain: int) -> None:
        """Set an array's TIA gain: index 0-4 for 1k, 5k, 30k, 200k, 1M; 7 is automatic."""
        if gain != AUTO_GAIN and not 0 <= gain < len(self.parameters.converters.gain_ohms):
            raise ValueError(f"a gain index is 0 to 4 or {AUTO_GAIN}, not {gain}")
        set_ = self._die.tias[self._die.checked(array)]
        if set_.uniform == gain and not set_.steady:
            return
        word = tias.GAIN_WORDS[-1 if gain == AUTO_GAIN else gain]
        words = np.full(self.parameters.cols, word, dtype=np.uint16)
        self._die.load_tias(array, words, automatic=gain == AUTO_GAIN)

    def gain(self, array: int) -> int | None:
        """Return the TIA gain index of an array; None where its columns differ or some are off."""
        return self._die.tias[self._die.checked(array)].uniform

    def load_tia(
        self, array: int, words: ArrayLike, *, automatic: bool = False, steady: bool = False
    ) -> None:
        """Set each column's TIA by its control word (cols,): gain and enables, see `tias`.

        A column with either enable off converts nothing: its code is 0, its energy too. automatic:
        each column steps its gain down from the one loaded; steady: by the current without its
        noise, so with the same conductances to the same gain. Every column is sampled at its own
        gain's time; a product takes as long as the slowest.
        """
        checked = tias.checked_words(words, self.parameters.cols)
        mode = tias.STEADY if automatic and steady else int(automatic)
        self._die.load_tias(self._die.checked(array), checked, automatic=mode)

    def tia(self, array: int) -> WordArray:
        """Return the control words (cols,) of an array's TIAs."""
        words: WordArray = self._die.state.tia_words[self._die.checked(array)].copy()
        return words

    # Registers and FIFOs -------------------------------------------------------------------------

    def load_rows(self, array: int, bits: ArrayLike) -> None:
        """Select rows by bits (64,) in the array's row register."""
        self._load(array, registers.packed(bits, columns=False), columns=False)

    def load_columns(self, array: int, bits: ArrayLike) -> None:
        """Select columns by bits (64,) in the array's column register."""
        self._load(array, registers.packed(bits, columns=True), columns=True)

    def latch(self, array: int, data: int, banks: int, *, columns: bool) -> None:
        """Store 16 bits of data in the banks (a mask of four) of a row or column register, as wired."""
        if not 0 <= data <= 0xFFFF or not 0 <= banks < 1 << registers.BANKS:
            raise ValueError(f"a bank holds 16 bits and there are four, not {data:#x} into {banks:#b}")
        chosen = np.flatnonzero(banks >> np.arange(registers.BANKS) & 1)
        held = self._die.state.registers[self._die.checked(array), int(columns)].copy()
        held[chosen] = data
        self._load(array, held, columns=columns)

    def _load(self, array: int, banks: WordArray, *, columns: bool) -> None:
        with self._die.state.bookkeeping():
            self._die.state.registers[self._die.checked(array), int(columns)] = banks

    def selected(self, array: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the bits (64,) of an array's row register, and of its column register."""
        rows, columns = self._die.state.registers[self._die.checked(array)]
        return registers.unpacked(rows, columns=False), registers.unpacked(columns, columns=True)

    def convert(self, array: int, *, float_rows: bool = False) -> None:
        """Drive the selected rows, convert the selected columns, leave the words in the FIFOs.

        Unselected rows sit at the reference: this is one product, as by `multiply`. With
        `float_rows` they float, which is modelled for one row and one column: one read, as by
        `read_cells`. Columns that are not selected leave code 0.
        """
        rows, columns = self.selected(array)
        if float_rows:
            words = self._read_selected(array, np.flatnonzero(rows), np.flatnonzero(columns))
        else:
            words = self.multiply(array, rows * self.parameters.row_code_max, columns)[0]
        with self._die.state.bookkeeping():
            self._die.state.fifos[array] = words

    def _read_selected(self, array: int, row: NDArray[np.intp], col: NDArray[np.intp]) -> WordArray:
        if len(row) != 1 or len(col) != 1:
            raise ValueError(f"{len(row)} rows and {len(col)} columns with floating rows: not modelled")
        words = np.zeros(FIFOS_PER_ARRAY * FIFO_DEPTH, dtype=np.uint16)
        words[self.column_order(array)[col]] = self.read_cells(array, row, col)[0]
        return words.reshape(FIFOS_PER_ARRAY, FIFO_DEPTH)

    def fifo(self, number: int) -> WordArray:
        """Return the 16 words that the last `convert` left in a FIFO, chip numbering, first one first."""
        array, place = fifo_owner(number)
        words: WordArray = self._die.state.fifos[self._die.checked(array), place].copy()
        return words

    # Sampling ------------------------------------------------------------------------------------

    def set_sample_ns(self, gain: int, duration_ns: int) -> None:
        """Set when the sample-and-hold samples at one TIA gain, in steps of 20 ns up to 1 ms.

        Sooner than the gain needs, the sample is unsettled: its signal is too small.
        """
        if not 0 <= gain < len(self.parameters.converters.gain_ohms):
            raise ValueError(f"a gain index is 0 to 4, not {gain}")
        if not _SAMPLE_STEP_NS <= duration_ns <= _SAMPLE_LIMIT_NS or duration_ns % _SAMPLE_STEP_NS:
            raise ValueError(f"sampling is after 20 ns to 1 ms in steps of 20 ns, not {duration_ns} ns")
        self._die.state.sample_ns[gain] = duration_ns
        self._die.take_power()

    @property
    def sample_ns(self) -> tuple[int, ...]:
        """When the sample-and-hold samples, by TIA gain."""
        return tuple(int(duration) for duration in self._die.state.sample_ns)

    def column_order(self, array: int) -> NDArray[np.intp]:
        """Return where each column (64,) lies in an array's 4×16 words, flattened."""
        return self._die.peripheries[self._die.checked(array)].column_places

    def fifo_address(self, array: int, col: int) -> tuple[int, int]:
        """Return (FIFO in chip numbering, word in it) of a column."""
        return fifo_address(self._die.checked(array), col)

    # Time ------------------------------------------------------------------------------------

    @property
    def clock_ns(self) -> int:
        """Simulated time since the chip was made."""
        return self._die.clock_ns

    def advance(self, duration_ns: int) -> None:
        """Let simulated time pass with nothing done."""
        if duration_ns < 0:
            raise ValueError(f"time does not run backwards ({duration_ns} ns)")
        self._die.spend(TimeCause.WAIT, duration_ns)

    # What no host can know -----------------------------------------------------------------------

    def conductance_units(self, array: int) -> NDArray[np.int32]:
        """Return the true conductances (rows, cols) now, in units of 10 pS."""
        units = self._die.all_shown(self._die.checked(array))
        return units.reshape(self.parameters.rows, self.parameters.cols)

    def conductance(self, array: int) -> Floats:
        """Return the true conductances (rows, cols) now, in S."""
        return np.asarray(self.conductance_units(array), dtype=np.float64) * SIEMENS_PER_UNIT

    def planted(self, array: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return the true kinds (rows, cols) and conductances in 10 pS (rows, cols).

        Kinds are those of `Kind`: 0 healthy, 1 stuck on, 2 stuck off, 3 stuck in between.
        """
        kinds = self._die.state.kinds[self._die.checked(array)]
        shape = (self.parameters.rows, self.parameters.cols)
        return kinds.reshape(shape).copy(), self.conductance_units(array)

    def pulse_counts(self, array: int) -> NDArray[np.uint32]:
        """Return how many pulses each device (rows, cols) has had."""
        counts: NDArray[np.uint32] = self._die.state.pulse_count[self._die.checked(array)].copy()
        return counts.reshape(self.parameters.rows, self.parameters.cols)

    # Operations --------------------------------------------------------------------------------

    def read_cells(self, array: int, rows: ArrayLike, cols: ArrayLike, reads: int = 1) -> WordArray:
        """Read devices (n,) one by one, `reads` times each; words (n, reads).

        Only the device's row and column are connected, so the path is its own series circuit.
        """
        return self._reads.read_cells(array, rows, cols, reads)

    def convert_test_input(self, fifo: int, reads: int = 1) -> WordArray:
        """Convert the voltage of rail 9 with one ADC, chip numbering; words (reads,), gain index 0.

        Neither TIA nor column offset is in this path: it shows an ADC's own scale.
        """
        return self._reads.convert_test_input(fifo, reads)

    def multiply(self, array: int, row_codes: ArrayLike, columns: ArrayLike | None = None) -> WordArray:
        """Drive the rows and convert the columns; one product a vector.

        row_codes (vectors, rows): 0 or 1, the full read voltage, where row drivers have one bit;
        0 to `parameters.row_code_max` where rows have DACs. Rows at 0 sit at the reference.
        Returns words (vectors, 4 FIFOs, 16) in FIFO order. columns: which of the 64 to convert, 0
        or 1 each; the others are connected all the same but answer 0 and cost nothing.
        """
        return self._products.multiply(array, row_codes, columns)

    def pulse(  # noqa: PLR0913 - one pulse is all of these
        self,
        array: int,
        rows: ArrayLike,
        cols: ArrayLike,
        direction: int,
        volt_codes: ArrayLike,
        gate_codes: ArrayLike,
        width_ns: int,
        count: int = 1,
    ) -> None:
        """Apply `count` SET (1) or RESET (0) pulses to each device (n,), one device at a time.

        volt_codes, gate_codes: successive settings of VP_PAD and TVDD, (n,) or scalar; a device
        with either code 0 is skipped. width_ns: a multiple of 20 ns up to 5080 ns, of 1 µs above.
        """
        codes = Codes(volt_codes, gate_codes)
        self._switching.pulse(array, rows, cols, Direction(direction), codes, width_ns, count)

    def sweep(  # noqa: PLR0913 - one staircase is all of these
        self,
        array: int,
        row: int,
        col: int,
        direction: int,
        volt_codes: ArrayLike,
        gate_code: int,
        dwell_ns: int,
    ) -> WordArray:
        """Step one device through voltages, each a pulse of `dwell_ns`; words (steps,).

        Each word is the current at that step's voltage, automatic gain: zero code and offset are
        those of any read of the column. Its shape is assumed. Energy and pulses are booked.
        """
        codes = (volt_codes, gate_code)
        return self._sweeps.sweep(array, (row, col), Direction(direction), codes, dwell_ns)
