"""The call surface of the group's earlier software for its chips, `DPE`, over any chip of this driver.

Analysis code written for the earlier object runs after one import is changed (docs/a0-migration.md). Voltages
are in V, conductances in S, widths in s, delays in µs and maps of shape (rows, cols), as they were. Nothing
is printed, arguments are never changed, and what cannot be done raises instead of going on.
"""

import atexit
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl import dpe_keywords as keywords
from chipctl.a0_board import SCHEME
from chipctl.board import Region
from chipctl.chip import Chip, connect
from chipctl.dpe_inputs import (
    column_words,
    corrected,
    ends_of,
    levels,
    over_array,
    row_word,
    shift_planes,
    shift_sum,
    steps_of,
    unary_planes,
    vectors_of,
)
from chipctl.dpe_result import Map, TuneResult
from chipctl.dpe_tuning import Tuner, Tuning
from firmware_protocol.messages import AUTO_GAIN, RESET, SET

__all__ = ["DPE", "TuneResult", "Tuning"]

_log = logging.getLogger(__name__)

AUTOMATIC: Final = -1
"""Gain that the chip chooses."""


class DPE:
    """A chip by the earlier software's calls; opened at the first of them, closed by `close` or at exit."""

    N_BIT = 8
    """Bits of an input in `multiply`, or pulses where it is unary."""

    def __init__(self, ser_name: str | Chip = "COM6") -> None:
        """An open chip, or an address; the name of a serial port alone is that of an A0 board, as it was.

        Raises:
            TypeError: Neither.
        """
        if not isinstance(ser_name, str | Chip):
            raise TypeError(f"a DPE is made of an address or an open chip, not of {ser_name!r}")
        self._chip = ser_name if isinstance(ser_name, Chip) else None
        self.ser_name = "" if isinstance(ser_name, Chip) else ser_name
        self._stack = contextlib.ExitStack()
        self.clk_adc = self.clk_array = 50

    @property
    def chip(self) -> Chip:
        """The chip, for whatever `DPE` has not."""
        if self._chip is None:
            plain = "://" not in self.ser_name and not self.ser_name.startswith(SCHEME)
            address = SCHEME + self.ser_name if plain else self.ser_name
            self._chip = self._stack.enter_context(connect(address))
            atexit.register(self.close)
        return self._chip

    def close(self) -> None:
        """Zero the outputs and let go of the port, if it was opened here."""
        atexit.unregister(self.close)
        if self.ser_name:
            self._chip = None
        self._stack.close()

    def __enter__(self) -> "DPE":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of an array."""
        return self.chip.rows, self.chip.cols

    def set_clock(self, Mhz: int) -> None:
        """Take note of a frequency that divides 100 MHz; the driver has its own and checks it at each read.

        Raises:
            ValueError: It does not divide 100.
        """
        if Mhz < 1 or 100 % Mhz:
            raise ValueError(f"a clock divides 100 MHz, {Mhz} MHz does not")
        self.clk_adc = self.clk_array = Mhz

    def init_dut(self) -> None:
        """Zero the outputs; the chip is powered and ready by itself at every call."""
        self.chip.safe()

    def power_off(self) -> None:
        """Zero the outputs."""
        self.chip.safe()

    @property
    def a0(self) -> NoReturn:
        """Not there: this object drives no pins."""
        raise AttributeError("DPE drives no pins: use its calls, or those of its driver, DPE.chip")

    # Reading

    def read(  # noqa: PLR0913 - the earlier call
        self,
        array: int,
        Vread: float | None = None,
        gain: int = AUTOMATIC,
        method: str = "slow",
        numReads: int = 1,
        *,
        Msel: ArrayLike | None = None,
        Tdly: float = 0,
        **others: Any,
    ) -> Map:
        """Conductance of an array, S, shape (rows, cols).

        Args:
            array: Array index.
            Vread: The chip's own read voltage, or None for it.
            gain: TIA gain index; -1 leaves it to the chip.
            method: `slow`, device by device; `fast`, row by row, all columns at once; `single`, those in
                `Msel` alone, 0 elsewhere.
            numReads: Reads averaged.
            Msel: Devices of `single`.
            Tdly: Has no effect: the driver's pauses are those of the board's address.
            others: Have no effect, and a warning says so.
        """
        del Tdly
        keywords.pass_over(others, "read", keywords.of(self.read))
        chip, read_volts = self.chip, self._read_volts(Vread)
        if method == "slow":
            return chip.read(array, reads=numReads, gain=AUTO_GAIN if gain == AUTOMATIC else gain)
        if method == "fast":
            rows = np.eye(chip.rows) * read_volts
            return chip.multiply(array, rows, reads=numReads, gain=_gain(gain)) / read_volts
        if method != "single":
            raise ValueError(f"method is slow, fast or single, not {method!r}")
        found, chosen = np.zeros(self.shape), over_array(0 if Msel is None else Msel, self.shape, "Msel")
        for row, col in np.argwhere(chosen):
            place = Region(int(row), 1, int(col), 1)
            index = AUTO_GAIN if gain == AUTOMATIC else gain
            found[row, col] = chip.read(array, place, reads=numReads, gain=index)[0, 0]
        return found

    def _read_volts(self, asked: float | None) -> float:
        own = self.chip.readout.read_volts
        if asked is not None and not np.isclose(asked, own):
            raise ValueError(f"this chip is read at {own:g} V, not {asked:g} V")
        return own

    def multiply(  # noqa: PLR0913 - the earlier call
        self,
        array: int,
        vectors: ArrayLike,
        r_start: int = 0,
        c_sel: Sequence[int] = (0, 14),
        mode: int = 0,
        gain: int = AUTOMATIC,
        *,
        Vread: float | None = None,
        Tdly: float = 0,
        **others: Any,
    ) -> Map:
        """Products of vectors with some columns, S × input, shape (vectors, columns).

        Args:
            array: Array index.
            vectors: Shape (inputs, vectors), or (inputs,) for one; in [0, 1].
            r_start: Row of the first input.
            c_sel: First column, and the one after the last.
            mode: 0 for bits that are shifted and added, 1 for unary pulses; `N_BIT` of them.
            gain: TIA gain index; by default the most sensitive one that no column exceeds.
            Vread, Tdly, others: As of `read`.

        Raises:
            ValueError: An input beyond [0, 1], none at all, or lines or bits that there are not; nothing was
                sent.
        """
        del Tdly
        keywords.pass_over(others, "multiply", keywords.of(self.multiply))
        given, read_volts = np.asarray(vectors, np.float64), self._read_volts(Vread)
        placed, asked = self._placed(vectors_of(given), r_start, mode), self._columns(c_sel)
        measured = self._products(array, placed, mode, asked | {"gain": _gain(gain)}) / read_volts
        return np.asarray(measured if given.ndim > 1 else measured[0])

    def multiply_w_delay(  # noqa: PLR0913 - the earlier call
        self,
        array: int,
        vectors: ArrayLike,
        r_start: int = 0,
        c_sel: Sequence[int] = (0, 14),
        mode: int = 0,
        delay: float = 5,
        debug: bool = False,
        *,
        gain: int = AUTOMATIC,
        Vread: float | None = None,
        Tdly: float = 0,
        **others: Any,
    ) -> Map:
        """As `multiply`, but one vector at a time, and after each the chip rests for `delay` ms.

        `debug` writes each fiftieth vector to the log. A virtual chip behind the native board rests in no
        time.
        """
        keywords.pass_over(others, "multiply_w_delay", keywords.of(self.multiply_w_delay))
        given = np.asarray(vectors, np.float64)
        outputs = []
        for number, vector in enumerate(vectors_of(given)):
            if debug and number % 50 == 0:
                _log.info("vector %d", number)
            outputs.append(self.multiply(array, vector, r_start, c_sel, mode, gain, Vread=Vread, Tdly=Tdly))
            self.chip.wait(delay * 1e-3)
        return np.array(outputs) if given.ndim > 1 else outputs[0]

    def _placed(self, inputs: Map, start: int, mode: int) -> Map:
        """Inputs (vectors, n) on their rows (vectors, rows), as whole bits or pulses of `N_BIT`."""
        if mode not in (0, 1):
            raise ValueError(f"mode is 0 for bits or 1 for unary pulses, not {mode!r}")
        rows = self.chip.rows
        if not 0 <= start <= start + inputs.shape[1] <= rows:
            raise ValueError(f"{inputs.shape[1]} inputs from row {start}: no such lines")
        most = steps_of(self.N_BIT, unary=mode == 1)
        placed = np.zeros((len(inputs), rows))
        placed[:, start : start + inputs.shape[1]] = levels(inputs, most) / most
        return placed

    def _columns(self, asked: Sequence[int]) -> dict[str, Any]:
        first, last = ends_of(asked)
        if not 0 <= first < last <= self.chip.cols:
            raise ValueError(f"columns {first} to {last}: no such lines")
        return {"cols": (first, last - first)}

    def _products(self, array: int, inputs: Map, mode: int, asked: dict[str, Any]) -> Map:
        """Column currents, A, shape (vectors, columns)."""
        chip, volts = self.chip, self.chip.readout.read_volts
        if mode == 0:
            return chip.multiply(array, inputs * volts, input_bits=self.N_BIT, **asked)
        planes = np.concatenate(list(self.binarize_unary(inputs))) * volts
        return self.unary_sum(chip.multiply(array, planes, **asked).reshape(self.N_BIT, len(inputs), -1))

    @staticmethod
    def lin_corr(outputs: ArrayLike, factors: Iterable[ArrayLike]) -> Map:
        """Outputs (vectors, columns) corrected by column: output × a + b.

        `factors` holds (a, b) for each column; further ones, and what stands after (a, b), are not used.
        """
        return corrected(outputs, factors)

    # Inputs and outputs of products, by bit or pulse

    def binarize_shift(self, vectors: ArrayLike) -> NDArray[np.uint32]:
        """The `N_BIT` bits of inputs in [0, 1], the lowest first: shape (bits, *vectors)."""
        return shift_planes(vectors, self.N_BIT)

    def binarize_unary(self, vectors: ArrayLike) -> NDArray[np.bool_]:
        """Which of `N_BIT` pulses inputs in [0, 1] give: shape (pulses, *vectors)."""
        return unary_planes(vectors, self.N_BIT)

    @staticmethod
    def vec2ints(vector: ArrayLike, start: int = 0) -> int:
        """Rows that a vector of ones and zeros drives, from row `start`, as a number: row r is bit r."""
        return row_word(vector, start)

    @staticmethod
    def get_col_en(c_sel: Sequence[int] = (0, 14)) -> list[int]:
        """Columns from a first to one before a last, as four words of 16: columns 48 to 63 first."""
        return column_words(c_sel)

    @staticmethod
    def shift_n_add(vectors: ArrayLike) -> Map:
        """One output of the outputs for the planes of `binarize_shift`."""
        return shift_sum(vectors)

    @staticmethod
    def unary_sum(vectors: ArrayLike) -> Map:
        """One output of the outputs for the planes of `binarize_unary`: their mean."""
        return np.asarray(np.mean(np.asarray(vectors, np.float64), axis=0))

    # Pulsing

    def set(
        self,
        array: int,
        Vset: ArrayLike,
        Vgate: ArrayLike,
        mask: ArrayLike = 1,
        Twidth: float = 20e-9,
        verbose: bool = False,
        **others: Any,
    ) -> int:
        """Give devices one SET pulse each; returns how many got one.

        Changes the devices. Voltages are numbers or maps; a device is left alone where voltage, gate or mask
        is 0. Widths are cut to the chip's grid.

        Raises:
            TypeError: A keyword that there is not, as the earlier call had it; nothing was sent.
            ValueError: Above a limit, no number (NaN), or shorter than the grid; nothing was sent.
            OutcomeUnknown: The board did not confirm; read the devices.
        """
        keywords.refuse(others, "set", keywords.of(self.set))
        return self._pulse(array, SET, (Vset, Vgate, mask), Twidth, verbose)

    def reset(
        self,
        array: int,
        Vreset: ArrayLike,
        Vgate: ArrayLike,
        mask: ArrayLike = 1,
        Twidth: float = 20e-9,
        verbose: bool = False,
        **others: Any,
    ) -> int:
        """Give devices one RESET pulse each; as `set`."""
        keywords.refuse(others, "reset", keywords.of(self.reset))
        return self._pulse(array, RESET, (Vreset, Vgate, mask), Twidth, verbose)

    def _pulse(
        self,
        array: int,
        direction: int,
        maps: tuple[ArrayLike, ArrayLike, ArrayLike],
        width: float,
        verbose: bool,
    ) -> int:
        names = ("the pulse voltage", "the gate voltage", "the mask")
        volts, gates, mask = (
            over_array(np.asarray(each, np.float64), self.shape, name)
            for each, name in zip(maps, names, strict=True)
        )
        chosen = (volts != 0) & (gates != 0) & (mask != 0)
        volts, gates = (np.where(chosen, each, 0.0) * np.where(chosen, mask, 0.0) for each in (volts, gates))
        if not np.isfinite(volts + gates).all():
            raise ValueError("a voltage, gate voltage or mask is no number; a device is left alone by a 0")
        given = 0
        if chosen.any():
            given = self.chip.pulse_each(
                array, direction, np.where(chosen, volts, np.nan), gates, self.on_grid(width)
            )
        if verbose:
            _log.info("%d devices pulsed", given)
        return given

    def on_grid(self, width: float) -> float:
        """The longest width, s, that the chip times and that is not above this one.

        Raises:
            ValueError: There is none.
        """
        if not np.isfinite(width):
            raise ValueError(f"a pulse lasts a number of seconds, not {width}")
        info, nanoseconds = self.chip.board.info, round(width * 1e9)
        if nanoseconds < info.tick_ns:
            raise ValueError(f"a pulse of {width * 1e9:g} ns is shorter than the chip's {info.tick_ns} ns")
        fine = min(nanoseconds, info.fine_width_ns) // info.tick_ns * info.tick_ns
        return max(fine, nanoseconds // info.coarse_tick_ns * info.coarse_tick_ns) * 1e-9

    def tune_conductance(self, array: int, Gtarget: ArrayLike, **options: Any) -> TuneResult:
        """Bring devices to their targets by SET and RESET pulses that climb ramps.

        Changes the devices in `Msel`. A device is a member from its first excursion beyond `Gtol_out` until
        it is within `Gtol_in`; each step pulses those too low, then those too high, and reads all. A device
        starts its ramps again when it becomes one; at their end it stays there, for `maxRetry` pulses more.

        Args:
            array: Array index.
            Gtarget: S, shape (rows, cols), or a number; anything where `Msel` is 0.
            options: Those of `Tuning`, by their names. Others have no effect, as ever, and a warning says so.

        Raises:
            TypeError: A keyword so like an option that it must be that one misspelt; nothing was sent.
            ValueError: A voltage or width above a limit, a target that is no number or above 1 mS, another
                option that cannot be; nothing was sent.
            OutcomeUnknown: Three batches in a row were not confirmed.
        """
        known = list(Tuning.__dataclass_fields__)
        stray = {name: options.pop(name) for name in list(options) if name not in known}
        keywords.refuse_misspelt(stray, "tune_conductance", known)
        keywords.pass_over(stray, "tune_conductance", known)
        return Tuner(self, array, Gtarget, Tuning(**options)).run()


def _gain(index: int) -> int | None:
    return None if index == AUTOMATIC else index
