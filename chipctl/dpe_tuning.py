"""Tuning by the rules of the group's earlier software: ramps, hysteresis, and what they came to.

Behind `chipctl.dpe.DPE.tune_conductance`, whose names these are. A device is a member from its first
excursion beyond the outer tolerance until it is within the inner one.
"""

import logging
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.dpe_inputs import over_array
from chipctl.dpe_result import Map, TuneResult
from chipctl.errors import OutcomeUnknown
from firmware_protocol.messages import RESET, SET

if TYPE_CHECKING:
    from chipctl.dpe import DPE

Flags = NDArray[np.bool_]

_log = logging.getLogger(__name__)

HISTORIES: Final = ("Ghist", "vSetHist", "vGateSetHist", "vResetHist", "vGateResetHist")

MOST_SIEMENS: Final = 1e-3
"""Beyond what any of these devices reaches: a larger number is in another unit."""

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
class Tuning:
    """Options of `DPE.tune_conductance` and their defaults. Ramps are (first, last, step), V."""

    Msel: ArrayLike = 1.0
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
    """With 0 the devices are looked at only."""
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

    @property
    def widths(self) -> tuple[float, float]:
        """Of SET and of RESET pulses, s."""
        sets, resets = self.TwidthSet, self.TwidthReset
        return self.Twidth if sets is None else sets, self.Twidth if resets is None else resets

    def resolved(self, target: Map) -> "Tuning":
        """With what tolerances and widths that were not given stand for; relative tolerances in S."""
        scale = target if self.GtolType == "rel" else 1.0
        return replace(
            self,
            Gtol_in=np.multiply(self.Gtol if self.Gtol_in is None else self.Gtol_in, scale),
            Gtol_out=np.multiply(self.Gtol if self.Gtol_out is None else self.Gtol_out, scale),
            TwidthSet=self.widths[0],
            TwidthReset=self.widths[1],
        )

    def asked(self) -> dict[str, Any]:
        """The options by name, for a result."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "plot_callback"}


class Tuner:
    """One run of `DPE.tune_conductance`."""

    def __init__(self, dpe: "DPE", array: int, target: ArrayLike, tuning: Tuning) -> None:
        if tuning.GtolType not in ("abs", "rel"):
            raise ValueError(f"GtolType is abs or rel, not {tuning.GtolType!r}")
        if operator.index(tuning.maxSteps) < 0:
            raise ValueError(f"maxSteps is a number of steps, not {tuning.maxSteps}")
        self._dpe, self._array, shape = dpe, array, dpe.shape
        self._target = over_array(np.asarray(target, np.float64), shape, "Gtarget").copy()
        self._given_mask = over_array(tuning.Msel, shape, "Msel").copy()
        self._mask = self._given_mask.astype(np.bool_)
        t = self._tuning = tuning.resolved(self._target)
        self._inner = over_array(np.asarray(t.Gtol_in, np.float64), shape, "Gtol_in")
        self._outer = over_array(np.asarray(t.Gtol_out, np.float64), shape, "Gtol_out")
        self._check_siemens()
        self._climbs = {
            SET: self._at_rest(SET, t.vSetRamp, t.vGateSetRamp, t.widths[0]),
            RESET: self._at_rest(RESET, t.vResetRamp, t.vGateResetRamp, t.widths[1]),
        }
        self._members = {direction: self._mask.copy() for direction in (SET, RESET)}
        self._bound = np.zeros(shape, np.int64)
        self._history: dict[str, list[Map]] = {name: [] for name in HISTORIES}
        self._unknown = self._in_a_row = 0

    def _check_siemens(self) -> None:
        """Refuse targets and tolerances that no device of the mask can have."""
        target, inner, outer = (each[self._mask] for each in (self._target, self._inner, self._outer))
        for name, values in (("Gtarget", np.abs(target)), ("Gtol_in", inner)):
            if np.any(values > MOST_SIEMENS):
                raise ValueError(
                    f"{name} is in S: {values.max():g} S is above 1 mS, which no device has; 50 µS is 50e-6"
                )
        if np.isnan(target).any():
            raise ValueError("Gtarget is no number (NaN) for devices of Msel")
        if not (np.all(inner >= 0) and np.all(outer >= 0)):
            raise ValueError("tolerances are 0 or more")

    def _at_rest(self, direction: int, volts: ArrayLike, gates: ArrayLike, width: float) -> _Climb:
        """Ramps of one direction, checked against the board's limits."""
        ramps = Ramps(_three(volts), _three(gates), self._dpe.on_grid(width))
        self._dpe.chip.pulse_codes(direction, ramps.volts[:2], ramps.gate_volts[:2])
        self._dpe.chip.check_width(round(ramps.width * 1e9))
        return _Climb.at_rest(ramps, self._dpe.shape)

    def run(self) -> TuneResult:
        """All steps; the conductances of the result were read after the last pulse."""
        for step in range(self._tuning.maxSteps):
            found = self._look()
            if not self._left().any():
                return self._result(found, step)
            for direction in (SET, RESET):
                begins, ends = self._climbs[direction].step(self._members[direction])
                self._bound = np.where(begins, 0, self._bound + ends)
            self._remember(found)
            for direction in (SET, RESET):
                self._give(direction)
            _log.info("step %d: %d devices left", step, np.count_nonzero(self._left()))
        return self._result(self._look(), self._tuning.maxSteps)

    def _look(self) -> Map:
        t = self._tuning
        found = self._dpe.read(self._array, method=t.method, numReads=t.numReads, Msel=self._mask)
        off = found - self._target
        for direction, beyond in ((SET, -off), (RESET, off)):
            entered = self._members[direction] | (beyond > self._outer)
            self._members[direction] = entered & (beyond > self._inner) & self._mask
        return found

    def _may_get_one(self) -> Flags:
        return self._bound <= self._tuning.maxRetry

    def _left(self) -> Flags:
        return (self._members[SET] | self._members[RESET]) & self._may_get_one()

    def _give(self, direction: int) -> None:
        climb = self._climbs[direction]
        chosen = self._members[direction] & self._may_get_one()
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
        sets, resets, given = self._climbs[SET], self._climbs[RESET], self._may_get_one()
        maps = {"Ghist": found, "vSetHist": sets.volts, "vGateSetHist": sets.gates * given}
        maps |= {"vResetHist": resets.volts, "vGateResetHist": resets.gates * given}
        for name, values in maps.items():
            self._history[name].append(values.copy())
        if t.plot_callback is not None:
            t.plot_callback(self._history)

    def _result(self, found: Map, steps: int) -> TuneResult:
        sets, resets = self._climbs[SET], self._climbs[RESET]
        return TuneResult(
            self._tuning.asked(),
            array=self._array,
            Gread=found,
            Gtarget=self._target,
            Msel=self._given_mask,
            Mset=self._members[SET] * self._given_mask,
            Mreset=self._members[RESET] * self._given_mask,
            Mbound=self._bound,
            vSet=sets.volts,
            vGateSet=sets.gates,
            vReset=resets.volts,
            vGateReset=resets.gates,
            s=steps,
            numLeft=int(np.count_nonzero(self._left())),
            unknown=self._unknown,
            **({"hist_data": self._history} if self._tuning.saveHistory else {}),
        )


def _three(ramp: ArrayLike) -> tuple[float, float, float]:
    values = np.asarray(ramp, np.float64)
    if values.shape != (3,):
        raise ValueError(f"a ramp is (first, last, step), rising, not {values}")
    first, last, step = values.tolist()
    return first, last, step
