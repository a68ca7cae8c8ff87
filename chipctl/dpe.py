"""The call surface of the group's earlier software for its chips, `DPE`, over any chip of this driver.

Analysis code written for the earlier object runs after one import is changed (docs/a0-migration.md). Voltages
are in V, conductances in S, widths in s, delays in µs and maps of shape (rows, cols), as they were. Nothing
is printed, arguments are never changed, and what cannot be done raises instead of going on.
"""

import atexit
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.a0_board import SCHEME
from chipctl.board import Region
from chipctl.chip import Chip, connect
from chipctl.errors import OutcomeUnknown
from firmware_protocol.messages import AUTO_GAIN, RESET, SET

Map = NDArray[np.float64]
Flags = NDArray[np.bool_]

_log = logging.getLogger(__name__)

AUTOMATIC: Final = -1
"""Gain that the chip chooses."""

_MOST_UNKNOWN = 3
"""Batches in a row without an answer after which tuning is given up."""


@dataclass(frozen=True)
class Ramps:
    """Pulses of one direction: voltages from first to last by a step, at each gate voltage in turn."""

    volts: tuple[float, float, float]
    """First, last, step."""
    gate_volts: tuple[float, float, float]
    width: float

    def __post_init__(self) -> None:
        for name, (first, last, step) in (("voltage", self.volts), ("gate", self.gate_volts)):
            if not (0 < first <= last and step > 0):
                raise ValueError(f"a {name} ramp is (first, last, step), rising, not {(first, last, step)}")
        if self.width <= 0:
            raise ValueError(f"a pulse lasts longer than {self.width} s")


@dataclass
class _Climb:
    """Where each device is on the ramps of one direction; 0 V where it gets no pulse."""

    ramps: Ramps
    volts: Map
    gates: Map

    @classmethod
    def at_rest(cls, ramps: Ramps, shape: tuple[int, int]) -> "_Climb":
        return cls(ramps, np.zeros(shape), np.zeros(shape))

    def step(self, chosen: Flags) -> tuple[Flags, Flags]:
        """Start those that were at rest, take the others on; who started, and who is at the end."""
        (first, last, step), (gate_first, gate_last, gate_step) = self.ramps.volts, self.ramps.gate_volts
        begins = chosen & (self.volts == 0)
        volts, gates = self.volts + step, self.gates
        past = volts > last + 1e-9
        gates = np.where(past, gates + gate_step, gates)
        ends = chosen & ~begins & past & (gates > gate_last + 1e-9)
        volts = np.where(past, np.where(ends, last, first), volts)
        self.volts = np.where(begins, first, np.where(chosen, volts, 0.0))
        self.gates = np.where(begins, gate_first, np.where(chosen, np.minimum(gates, gate_last), 0.0))
        return begins, ends


@dataclass(frozen=True)
class TuneResult(Mapping[str, Any]):
    """What `DPE.tune_conductance` reached. Maps have shape (rows, cols).

    It is also a mapping by the names of the earlier object's result: result["Gread"], `**result`.
    """

    Gread: Map
    """Conductance of all devices as last read."""
    Gtarget: Map
    Msel: Flags
    """Devices that were to be tuned."""
    Mset: Flags
    """Those that are still too low."""
    Mreset: Flags
    """Those that are still too high."""
    Mbound: NDArray[np.int64]
    """Pulses that each device has had at the end of its ramps."""
    vSet: Map
    vGateSet: Map
    vReset: Map
    vGateReset: Map
    """Voltages of the last pulse of each device that is not done."""
    Gtol_in: Map
    Gtol_out: Map
    s: int
    """Steps made."""
    unknown: int = 0
    """Batches that the board did not confirm; what they did shows in `Gread`."""
    hist_data: dict[str, list[Map]] = field(default_factory=dict)
    """With `saveHistory`: maps of each step, as Ghist, vSetHist, vGateSetHist, vResetHist, vGateResetHist."""

    @property
    def share_within(self) -> tuple[float, float]:
        """Share of the devices within `Gtol_in`, and within `Gtol_out`, of their targets."""
        off = np.abs(self.Gread - self.Gtarget)[self.Msel]
        tolerances = self.Gtol_in[self.Msel], self.Gtol_out[self.Msel]
        inside, outside = (float(np.mean(off < each)) if off.size else 1.0 for each in tolerances)
        return inside, outside

    def __getitem__(self, name: str) -> Any:
        try:
            return vars(self)[name]
        except KeyError:
            raise KeyError(f"{name}; there are {', '.join(vars(self))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


class DPE:
    """A chip by the earlier software's calls; opened at the first of them, closed by `close` or at exit."""

    N_BIT = 8
    """Bits of an input in `multiply`, or pulses where it is unary."""

    def __init__(self, ser_name: str | Chip = "COM6") -> None:
        """An open chip, or an address; the name of a serial port alone is that of an A0 board, as it was."""
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

    def power_off(self) -> None:
        """Zero the outputs."""
        self.chip.safe()

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
        """
        del Tdly
        chip, read_volts = self.chip, self._read_volts(Vread)
        if method == "slow":
            return chip.read(array, reads=numReads, gain=AUTO_GAIN if gain == AUTOMATIC else gain)
        if method == "fast":
            rows = np.eye(chip.rows) * read_volts
            return chip.multiply(array, rows, reads=numReads, gain=_gain(gain)) / read_volts
        if method != "single":
            raise ValueError(f"method is slow, fast or single, not {method!r}")
        found, chosen = np.zeros(self.shape), np.zeros(self.shape) if Msel is None else np.asarray(Msel)
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
        c_sel: tuple[int, int] | list[int] = (0, 14),
        mode: int = 0,
        gain: int = AUTOMATIC,
        *,
        Vread: float | None = None,
        Tdly: float = 0,
    ) -> Map:
        """Products of vectors with some columns, S × input, shape (vectors, columns).

        Args:
            array: Array index.
            vectors: Shape (inputs, vectors), or (inputs,) for one; in [0, 1].
            r_start: Row of the first input.
            c_sel: First column, and the one after the last.
            mode: 0 for bits that are shifted and added, 1 for unary pulses; `N_BIT` of them.
            gain: TIA gain index; by default the most sensitive one that no column exceeds.
            Vread, Tdly: As of `read`.

        Raises:
            ValueError: An input beyond [0, 1], or lines that there are not; nothing was sent.
        """
        del Tdly
        given, read_volts = np.asarray(vectors, np.float64), self._read_volts(Vread)
        inputs = np.atleast_2d(given.T)
        rows, (first, last) = self.chip.rows, c_sel
        if not (r_start >= 0 and r_start + inputs.shape[1] <= rows and 0 <= first < last <= self.chip.cols):
            raise ValueError(
                f"{inputs.shape[1]} inputs from row {r_start}, columns {first} to {last}: no such lines"
            )
        if mode not in (0, 1) or not np.all((inputs >= 0) & (inputs <= 1)):
            raise ValueError("inputs lie in [0, 1], signed ones in two calls; mode is 0 or 1")
        placed = np.zeros((len(inputs), rows))
        placed[:, r_start : r_start + inputs.shape[1]] = inputs
        asked: dict[str, Any] = {"gain": _gain(gain), "cols": (first, last - first)}
        measured = self._products(array, placed, mode, asked) / read_volts
        return np.asarray(measured if given.ndim > 1 else measured[0])

    def _products(self, array: int, inputs: Map, mode: int, asked: dict[str, Any]) -> Map:
        """Column currents, A, shape (vectors, columns)."""
        chip, volts = self.chip, self.chip.readout.read_volts
        if mode == 0:
            return chip.multiply(array, inputs * volts, input_bits=self.N_BIT, **asked)
        pulses = np.rint(inputs * self.N_BIT)
        planes = np.concatenate([pulses > n + 0.5 for n in range(self.N_BIT)]) * volts
        amps = chip.multiply(array, planes, **asked).reshape(self.N_BIT, len(inputs), -1)
        return np.asarray(amps.mean(axis=0))

    @staticmethod
    def lin_corr(outputs: ArrayLike, factors: ArrayLike) -> Map:
        """Outputs (vectors, columns) corrected by column: output × a + b; factors (columns, 2) of (a, b)."""
        given, fit = np.asarray(outputs, np.float64), np.asarray(factors, np.float64)
        if fit.shape != (given.shape[-1], 2):
            raise ValueError(f"factors of shape {(given.shape[-1], 2)} wanted, {fit.shape} given")
        return np.asarray(given * fit[:, 0] + fit[:, 1])

    # Pulsing

    def set(
        self,
        array: int,
        Vset: ArrayLike,
        Vgate: ArrayLike,
        mask: ArrayLike = 1,
        Twidth: float = 20e-9,
        verbose: bool = False,
    ) -> int:
        """Give devices one SET pulse each; returns how many got one.

        Changes the devices. Voltages are numbers or maps; a device is left alone where voltage, gate or mask
        is 0. Widths are cut to the chip's grid.

        Raises:
            ValueError: Above a limit, or shorter than the grid; nothing was sent.
            OutcomeUnknown: The board did not confirm; read the devices.
        """
        return self._pulse(array, SET, (Vset, Vgate, mask), Twidth, verbose)

    def reset(
        self,
        array: int,
        Vreset: ArrayLike,
        Vgate: ArrayLike,
        mask: ArrayLike = 1,
        Twidth: float = 20e-9,
        verbose: bool = False,
    ) -> int:
        """Give devices one RESET pulse each; as `set`."""
        return self._pulse(array, RESET, (Vreset, Vgate, mask), Twidth, verbose)

    def _pulse(
        self,
        array: int,
        direction: int,
        maps: tuple[ArrayLike, ArrayLike, ArrayLike],
        width: float,
        verbose: bool,
    ) -> int:
        volts, gates, mask = (np.broadcast_to(np.asarray(each, np.float64), self.shape) for each in maps)
        volts, gates = volts * mask, gates * mask
        chosen = (volts != 0) & (gates != 0)
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
        info, nanoseconds = self.chip.board.info, round(width * 1e9)
        tick = info.tick_ns if nanoseconds <= info.fine_width_ns else info.coarse_tick_ns
        if nanoseconds < tick:
            raise ValueError(f"a pulse of {width * 1e9:g} ns is shorter than the chip's {tick} ns")
        return nanoseconds // tick * tick * 1e-9

    def tune_conductance(self, array: int, Gtarget: ArrayLike, **options: Any) -> TuneResult:
        """Bring devices to their targets by SET and RESET pulses that climb ramps.

        Changes the devices in `Msel`. A device is a member from its first excursion beyond `Gtol_out` until
        it is within `Gtol_in`; each step pulses those too low, then those too high, and reads all. A device
        starts its ramps again when it becomes one; at their end it stays there, for `maxRetry` pulses more.

        Args:
            array: Array index.
            Gtarget: S, shape (rows, cols).
            options: Those of `Tuning`, by their names.

        Raises:
            ValueError: An option that there is not, or a voltage above a limit; nothing was sent.
            OutcomeUnknown: Three batches in a row were not confirmed.
        """
        unknown = set(options) - set(Tuning.__dataclass_fields__)
        if unknown:
            raise ValueError(f"no option {', '.join(sorted(unknown))} of tune_conductance")
        return _Tuner(self, array, np.asarray(Gtarget, np.float64), Tuning(**options)).run()


def _gain(index: int) -> int | None:
    return None if index == AUTOMATIC else index


@dataclass(frozen=True)
class Tuning:
    """Options of `DPE.tune_conductance` and their defaults. Ramps are (first, last, step), V."""

    Msel: ArrayLike = True
    """Devices to tune, shape (rows, cols); all by default."""
    vSetRamp: tuple[float, float, float] = (1.0, 3.5, 1.0)
    vGateSetRamp: tuple[float, float, float] = (0.5, 1.4, 0.05)
    vResetRamp: tuple[float, float, float] = (0.3, 1.5, 0.05)
    vGateResetRamp: tuple[float, float, float] = (5.0, 5.5, 0.5)
    Gtol: ArrayLike = 4e-6
    """S, a number or a map."""
    Gtol_in: ArrayLike | None = None
    """`Gtol` where it is not given."""
    Gtol_out: ArrayLike | None = None
    GtolType: str = "abs"
    """`rel`: tolerances are shares of the target."""
    maxSteps: int = 200
    maxRetry: int = 5
    """Pulses at the end of the ramps after which a device is left alone."""
    numReads: int = 1
    method: str = "slow"
    Tdly: float = 500
    """Has no effect, as of `DPE.read`."""
    Twidth: float = 20e-9
    TwidthSet: float | None = None
    TwidthReset: float | None = None
    saveHistory: bool = False
    plot_callback: Callable[[dict[str, list[Map]]], object] | None = None
    """Told of the history after each step, with `saveHistory`."""


class _Tuner:
    """One run of `DPE.tune_conductance`."""

    def __init__(self, dpe: DPE, array: int, target: Map, tuning: Tuning) -> None:
        self._dpe, self._array, self._tuning = dpe, array, tuning
        shape = dpe.shape
        if target.shape != shape or tuning.GtolType not in ("abs", "rel"):
            raise ValueError(f"targets of shape {shape} and GtolType abs or rel, not {target.shape}")
        self._target, t = target.copy(), tuning
        self._mask = np.broadcast_to(np.asarray(t.Msel, np.bool_), shape).copy()
        scale = target if t.GtolType == "rel" else 1.0
        inner, outer = (t.Gtol if each is None else each for each in (t.Gtol_in, t.Gtol_out))
        self._inner, self._outer = (
            np.broadcast_to(np.asarray(each) * scale, shape) for each in (inner, outer)
        )
        widths = [dpe.on_grid(t.Twidth if each is None else each) for each in (t.TwidthSet, t.TwidthReset)]
        sets = Ramps(_three(t.vSetRamp), _three(t.vGateSetRamp), widths[0])
        resets = Ramps(_three(t.vResetRamp), _three(t.vGateResetRamp), widths[1])
        for direction, ramps in ((SET, sets), (RESET, resets)):
            dpe.chip.pulse_codes(direction, ramps.volts[:2], ramps.gate_volts[:2])
            dpe.chip.check_width(round(ramps.width * 1e9))
        self._climbs = {SET: _Climb.at_rest(sets, shape), RESET: _Climb.at_rest(resets, shape)}
        self._members = {direction: self._mask.copy() for direction in (SET, RESET)}
        self._bound = np.zeros(shape, np.int64)
        self._history: dict[str, list[Map]] = {}
        self._unknown = self._in_a_row = 0

    def run(self) -> TuneResult:
        """All steps; the conductances of the result were read after the last pulse."""
        for step in range(self._tuning.maxSteps):
            found = self._look()
            if not self._left():
                return self._result(found, step)
            for direction in (SET, RESET):
                begins, ends = self._climbs[direction].step(self._members[direction])
                self._bound = np.where(begins, 0, self._bound + ends)
            self._remember(found)
            for direction in (SET, RESET):
                self._give(direction)
        return self._result(self._look(), self._tuning.maxSteps)

    def _look(self) -> Map:
        t = self._tuning
        found = self._dpe.read(self._array, method=t.method, numReads=t.numReads, Msel=self._mask)
        off = found - self._target
        for direction, beyond in ((SET, -off), (RESET, off)):
            entered = self._members[direction] | (beyond > self._outer)
            self._members[direction] = entered & (beyond > self._inner) & self._mask
        return found

    def _left(self) -> bool:
        members = self._members[SET] | self._members[RESET]
        return bool((members & (self._bound <= self._tuning.maxRetry)).any())

    def _give(self, direction: int) -> None:
        climb = self._climbs[direction]
        chosen = self._members[direction] & (self._bound <= self._tuning.maxRetry)
        give = self._dpe.set if direction == SET else self._dpe.reset
        try:
            give(self._array, climb.volts, climb.gates, chosen, climb.ramps.width)
            self._in_a_row = 0
        except OutcomeUnknown:
            self._unknown, self._in_a_row = self._unknown + 1, self._in_a_row + 1
            if self._in_a_row >= _MOST_UNKNOWN:
                raise
            self._dpe.chip.board.reopen()

    def _remember(self, found: Map) -> None:
        t = self._tuning
        if not t.saveHistory:
            return
        sets, resets = self._climbs[SET], self._climbs[RESET]
        maps = {"Ghist": found, "vSetHist": sets.volts, "vGateSetHist": sets.gates}
        maps |= {"vResetHist": resets.volts, "vGateResetHist": resets.gates}
        for name, values in maps.items():
            self._history.setdefault(name, []).append(values.copy())
        if t.plot_callback is not None:
            t.plot_callback(self._history)

    def _result(self, found: Map, steps: int) -> TuneResult:
        sets, resets = self._climbs[SET], self._climbs[RESET]
        return TuneResult(
            Gread=found,
            Gtarget=self._target,
            Msel=self._mask,
            Mset=self._members[SET],
            Mreset=self._members[RESET],
            Mbound=self._bound,
            vSet=sets.volts,
            vGateSet=sets.gates,
            vReset=resets.volts,
            vGateReset=resets.gates,
            Gtol_in=self._inner,
            Gtol_out=self._outer,
            s=steps,
            unknown=self._unknown,
            hist_data=self._history,
        )


def _three(ramp: ArrayLike) -> tuple[float, float, float]:
    first, last, step = (float(value) for value in np.asarray(ramp, np.float64))
    return first, last, step
