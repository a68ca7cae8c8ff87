"""Tuning by the rules of the group's earlier software: ramps, hysteresis, and what they came to.

Behind `chipctl.dpe.DPE.tune_conductance`, whose names these are. A device is a member from its first
excursion beyond the outer tolerance until it is within the inner one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.errors import OutcomeUnknown
from firmware_protocol.messages import RESET, SET

if TYPE_CHECKING:
    from chipctl.dpe import DPE

Map = NDArray[np.float64]
Flags = NDArray[np.bool_]

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


class Tuner:
    """One run of `DPE.tune_conductance`."""

    def __init__(self, dpe: "DPE", array: int, target: Map, tuning: Tuning) -> None:
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
