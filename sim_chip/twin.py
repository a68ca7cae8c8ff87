"""A virtual chip after a real one: what a calibrated chip's profile says, the rest from a preset.

Reads the profile's JSON by a model of its own, of what it needs and no more. Fault maps, converters, wires,
read noise and the laws of SET and RESET are taken over where measurements are usable; `Twin`
says of each where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from sim_chip.converters import (
    FIFOS_PER_ARRAY,
    Floats,
    adc_deviations,
    column_offsets,
    dac_code,
    dac_microvolts,
)
from sim_chip.device import Kind
from sim_chip.faults import SLOW, FaultPlan, plant
from sim_chip.parameters import (
    CURVE_POINTS,
    ChipParameters,
    ConverterParameters,
    Spread,
    WireParameters,
)

_NAME_LETTERS = 7
"""Of the original's serial number that fit into the twin's: a board has 16 bytes for it."""

_KINDS = {1: Kind.STUCK_OFF, 2: Kind.STUCK_ON, 3: Kind.STUCK_MIDDLE}
"""By the profile's own numbers of faults; devices on dead lines are named by their line."""


_OWN = ("set_threshold", "off_gap", "reset_reference", "reset_steepness")
"""Parameters of pulses that each device has its own of."""

_COMMON = (
    "set_softness",
    "set_width_shift",
    "reset_fraction",
    "reset_ohms",
    "reset_width_shift",
    "reset_jitter",
)
"""Parameters of pulses that all devices of a chip share."""


_SLOW_KIND = 0.005
"""Share of devices unlike others beyond which slow ones are a kind of their own, not the law's tail."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Quantity(_Part):
    value: object
    sigma: object = None

    @property
    def numbers(self) -> Floats:
        return np.array(self.value, dtype=np.float64)


class _Result(_Part):
    verdict: str
    doubts: list[str] | None = None
    values: dict[str, _Quantity]

    @property
    def usable(self) -> bool:
        """Whether the numbers may be used; older files tell no doubts, and what failed was not used."""
        return self.verdict == "pass" if self.doubts is None else not self.doubts

    def number(self, name: str) -> float:
        return float(np.nanmean(self.values[name].numbers))


class _Stuck(_Part):
    row: int
    col: int
    kind: int
    siemens: float


class _Line(_Part):
    kind: str
    lines: tuple[int, ...]


class _Array(_Part):
    scanned: str | None = None
    stuck: list[_Stuck] = []
    noisy: list[tuple[int, int]] = []
    slow: list[tuple[int, int]] = []
    dead_lines: list[_Line] = []
    calibration: dict[str, _Result] = {}


class _Profile(_Part):
    serial: str
    rows: int
    cols: int
    arrays: dict[int, _Array]
    calibration: dict[str, _Result] = {}

    def usable(self, name: str) -> dict[int, _Result]:
        """Results of a procedure that may be used, by array."""
        found = {index: array.calibration.get(name) for index, array in self.arrays.items()}
        return {index: result for index, result in found.items() if result and result.usable}

    def doubtful(self) -> list[str]:
        """Names of results that may not be used."""
        whole = [name for name, result in self.calibration.items() if not result.usable]
        return whole + [
            f"{name} (array {index})"
            for index, array in self.arrays.items()
            for name, result in array.calibration.items()
            if not result.usable
        ]

    def either(self, name: str) -> list[_Result]:
        """Results of arrays; where there are none, that of the chip as a whole."""
        whole = self.calibration.get(name)
        kept = [whole] if whole is not None and whole.usable else []
        return list(self.usable(name).values()) or kept


@dataclass(frozen=True)
class Twin:
    """A virtual chip after a profile: its kind, what is wrong with it, and where everything comes from."""

    parameters: ChipParameters
    faults: FaultPlan
    sources: tuple[str, ...]
    """One line a subject, for a person."""

    def start(self, readback: NDArray[np.float64]) -> Floats:
        """Device conductances (S) of single reads of all devices, both (arrays, rows, cols); NaN stays.

        Transistor and lines in series with a device are taken off.
        """
        series = _series_ohms(self.parameters)
        return np.clip(readback / np.maximum(1.0 - readback * series, 0.1), 0.0, 1e-3)


def twin(path: Path, base: ChipParameters, seed: int) -> Twin:
    """The twin of the chip whose profile is at `path`; what the profile does not know is as in `base`.

    Raises:
        ValueError: The file is no profile, or has a value that no virtual chip is known to have.
    """
    try:
        profile = _Profile.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        at = f" at {'.'.join(map(str, where))}" if where else ""
        raise ValueError(f"{path} is no chip profile{at}; `chipctl calibrate` makes one") from None
    if (profile.rows, profile.cols) != (base.rows, base.cols):
        raise ValueError(f"{path} is of arrays of {profile.rows}×{profile.cols}; virtual ones are 64×64")
    try:
        return _Maker(profile, base, seed).twin()
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a calibration result lacks or garbles {error}; calibrate anew") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


class _Maker:
    """Puts a twin together, subject by subject, and keeps account."""

    def __init__(self, profile: _Profile, base: ChipParameters, seed: int) -> None:
        count = max(profile.arrays, default=base.arrays - 1) + 1
        name = f"twin-{profile.serial[-_NAME_LETTERS:]}"
        self._profile, self._seed = profile, seed
        self._base = replace(base, name=name, arrays=count)
        self._kind = base.name
        self._sources: list[str] = []

    def twin(self) -> Twin:
        p = self._base
        for part in (self._with_converters, self._with_wires, self._with_fluctuation, self._with_switching):
            p = part(p)
        plan = self._faults(p)
        if doubtful := self._profile.doubtful():
            self._sources.append(f"measured but in doubt, so not used: {', '.join(doubtful)}")
        untold = "relaxation, overdrive, wear, timing, energy"
        self._sources.append(f"{untold}: {self._kind}")
        return Twin(p, plan, tuple(self._sources))

    def _tell(self, subject: str, arrays: list[int] | None, what: str = "") -> None:
        """arrays: where it was measured; None: on the chip as a whole."""
        everywhere = arrays is None or len(arrays) == self._base.arrays
        measured = "profile" if everywhere else f"profile (array {', '.join(map(str, arrays or []))})"
        source = self._kind if arrays == [] else measured
        self._sources.append(f"{subject}: {source}{f'; {what}' if what and arrays != [] else ''}")

    # Converters

    def _with_converters(self, p: ChipParameters) -> ChipParameters:
        zeros, adcs = self._profile.usable("zeros"), self._profile.usable("adcs")
        model = p.converters
        if adcs:
            model = replace(model, curve_lsb=self._curves(model, adcs))
        if zeros:
            squares = [np.mean(r.values["noise_codes"].numbers ** 2, axis=1) for r in zeros.values()]
            noise = np.sqrt(np.median(squares))  # one gain of a TIA may be noisier than ADC and others
            model = replace(
                model,
                column_lsb=self._offsets(model, zeros, adcs),
                noise_lsb=float(np.sqrt(max(noise**2 - 1 / 12, 0.0))),
            )
        self._tell("ADC curves", sorted(adcs))
        self._tell("zeros and converter noise", sorted(zeros), f"{model.noise_lsb:.2f} LSB")
        return replace(p, converters=model)

    def _curves(self, model: ConverterParameters, adcs: dict[int, _Result]) -> tuple[float, ...]:
        """What each ADC answers beyond an ideal one, by the ideal code, at even steps."""
        at = np.linspace(0, model.adc_codes - 1, CURVE_POINTS)
        curves = np.empty((self._base.arrays, FIFOS_PER_ARRAY, CURVE_POINTS))
        for array in range(self._base.arrays):
            if array not in adcs:
                curves[array] = adc_deviations(model, self._seed, array, at)
                continue
            values = adcs[array].values
            for adc, (answered, excess) in enumerate(
                zip(values["answered_codes"].numbers, values["excess_codes"].numbers, strict=True)
            ):
                curves[array, adc] = np.interp(at, answered - excess, excess)
        return tuple(float(value) for value in curves.ravel())

    def _offsets(
        self, model: ConverterParameters, zeros: dict[int, _Result], adcs: dict[int, _Result]
    ) -> tuple[float, ...]:
        """Where each column's zero lies beyond the nominal one, LSB ahead of the ADC's curve."""
        rails = [dac_microvolts(dac_code(volts)) for volts in (0.5, 4.0)]
        window = (rails[0] - model.floor_uv) + (rails[1] - model.floor_uv - model.span_uv)
        nominal = model.zero_codes + window * (model.adc_codes - 1) / model.span_uv
        offsets = np.empty((self._base.arrays, self._base.cols))
        for array in range(self._base.arrays):
            if array not in zeros:
                offsets[array] = column_offsets(model, self._seed, array)
                continue
            codes = zeros[array].values["zero_codes"].numbers.mean(axis=0)
            if array in adcs:
                codes = _before_adc(codes, adcs[array])
            offsets[array] = codes - nominal
        return tuple(float(value) for value in offsets.ravel())

    # Wires, noise, devices

    def _with_wires(self, p: ChipParameters) -> ChipParameters:
        lines, transistor = self._profile.either("lines"), self._profile.either("transistor")
        wires = p.wires
        if lines:
            names = ("segment_ohms", "driver_ohms", "tia_ohms")
            found = {name: max(_mean(lines, name), 0.0) for name in names}
            wires = WireParameters(True, **found, transistor_ohms=wires.transistor_ohms)
        if transistor:
            wires = replace(wires, transistor_ohms=_mean(transistor, "ohms"))
        shown = (
            f"{wires.segment_ohms:.2f} Ω a cell, driver {wires.driver_ohms:.0f} Ω, TIA {wires.tia_ohms:.0f} Ω"
        )
        self._tell("wires", sorted(self._profile.usable("lines")), shown)
        self._tell(
            "access transistor in reads",
            sorted(self._profile.usable("transistor")),
            f"{wires.transistor_ohms:.0f} Ω",
        )
        return replace(p, wires=wires)

    def _with_fluctuation(self, p: ChipParameters) -> ChipParameters:
        found = self._profile.either("fluctuation")
        if found:
            mean = partial(_mean, found)
            law = replace(
                p.fluctuation, on=True, slope=mean("slope"), offset=mean("offset"), spread=mean("spread")
            )
            p = replace(p, fluctuation=law)
        law = p.fluctuation
        self._tell(
            "read noise", self._arrays("fluctuation"), f"ln σ = {law.slope:.2f} ln G {law.offset:+.2f}"
        )
        return p

    def _with_switching(self, p: ChipParameters) -> ChipParameters:
        gate, thresholds = self._profile.either("gate"), self._profile.either("thresholds")
        model = p.switching
        if gate:
            volts = model.compliance_volts.nominal
            model = replace(
                model,
                threshold=Spread(_mean(gate, "threshold"), _mean(gate, "threshold_spread")),
                transconductance=Spread(2.0 * volts * _mean(gate, "gain"), _mean(gate, "gain_spread")),
                compliance_volts=Spread(volts),
                set_jitter=_mean(gate, "set_jitter"),
            )
        measured: dict[str, Any] = {
            name: Spread(_mean(thresholds, name), _mean(thresholds, f"{name}_spread"))
            for name in _OWN
            if _have(thresholds, name)
        }
        measured |= {name: _mean(thresholds, name) for name in _COMMON if _have(thresholds, name)}
        model = replace(model, **measured)
        self._tell("gate curve and scatter of SET", self._arrays("gate"))
        missing = [name for name in (*_OWN, *_COMMON) if name not in measured]
        short = f"not {', '.join(missing)}, which {self._kind} gives" if missing else ""
        self._tell("SET and RESET thresholds", self._arrays("thresholds"), short)
        return replace(p, switching=model)

    def _arrays(self, name: str) -> list[int] | None:
        """Arrays with a result, none where it is the chip's."""
        arrays = sorted(self._profile.usable(name))
        return arrays if arrays or not self._profile.either(name) else None

    # Faults

    def _odd(self) -> float:
        """Share of devices that the law of RESET does not hold, 1 where it was not measured."""
        thresholds = self._profile.either("thresholds")
        return _mean(thresholds, "reset_odd") if _have(thresholds, "reset_odd") else 1.0

    def _faults(self, p: ChipParameters) -> FaultPlan:
        """The maps of scanned arrays; others are drawn as in the base."""
        shape = (p.arrays, p.rows, p.cols)
        kinds, slow = np.zeros(shape, np.uint8), np.zeros(shape, bool)
        siemens, noisy = np.full(shape, np.nan), np.zeros(shape, bool)
        scanned = [index for index, array in self._profile.arrays.items() if array.scanned]
        lines: dict[str, list[tuple[int, int]]] = {}
        for index in range(p.arrays):
            if index not in scanned:
                drawn = plant(p, FaultPlan(), self._seed, index)
                kinds[index] = drawn.kinds.reshape(shape[1:])
                slow[index] = (drawn.flags.reshape(shape[1:]) & SLOW) > 0
                continue
            array = self._profile.arrays[index]
            for device in array.stuck:
                place = index, device.row, device.col
                kinds[place], siemens[place] = _KINDS.get(device.kind, Kind.HEALTHY), device.siemens
            # Where laws were measured, their spreads hold noisy and slow devices already
            loud = [] if self._profile.either("fluctuation") else array.noisy
            late = array.slow if self._odd() > _SLOW_KIND else []
            for flags, places in ((noisy, loud), (slow, late)):
                for row, col in places:
                    flags[index, row, col] = True
            for line in array.dead_lines:
                for number in _numbers(line):
                    lines.setdefault(line.kind, []).append((index, number))
        own = siemens / np.maximum(1.0 - siemens * _series_ohms(p), 0.1)
        self._tell("faults", sorted(scanned), f"{np.count_nonzero(kinds[scanned])} devices stuck")
        dead = {kind: tuple(places) for kind, places in lines.items()}
        rows, cols, adcs, tias = (dead.get(kind, ()) for kind in ("row", "column", "converter", "amplifier"))
        return FaultPlan(None, kinds, np.clip(own, 0.0, 1e-3), noisy, slow, rows, cols, adcs, tias)


def _numbers(line: _Line) -> list[int]:
    """A dead converter by its number in the array, other lines by theirs."""
    if line.kind != "converter":
        return list(line.lines)
    return sorted({2 * (col % 2) + col // 32 for col in line.lines})


def _have(results: list[_Result], name: str) -> bool:
    return bool(results) and all(name in result.values for result in results)


def _mean(results: list[_Result], name: str) -> float:
    return float(np.mean([result.number(name) for result in results]))


def _before_adc(codes: Floats, adcs: _Result) -> Floats:
    """Positions on the ADC's scale, LSB, that columns' mean answers (cols,) stand for."""
    values, col = adcs.values, np.arange(len(codes))
    adc = 2 * (col % 2) + col // (len(codes) // 2)
    answered, excess = values["answered_codes"].numbers, values["excess_codes"].numbers
    off = [np.interp(code, answered[place], excess[place]) for code, place in zip(codes, adc, strict=True)]
    return np.asarray(codes - np.array(off))


def _series_ohms(p: ChipParameters) -> Floats:
    """In series with each device when it is read alone, Ω, shape (rows, cols)."""
    w = p.wires
    if not w.on:
        return np.zeros((p.rows, p.cols))
    rows, cols = np.arange(p.rows)[:, None], np.arange(p.cols)[None, :]
    segments = (cols + 1) + (p.rows - rows)
    return np.asarray(w.transistor_ohms + w.driver_ohms + w.tia_ohms + w.segment_ohms * segments)
