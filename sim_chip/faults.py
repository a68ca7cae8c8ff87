"""Faults planted in a chip: stuck and odd devices, dead lines, dead converters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.rails import Rail
from sim_chip import random
from sim_chip.device import UNITS_PER_US, Kind
from sim_chip.parameters import ChipParameters, FaultShares
from sim_chip.rails import HIGHEST_UV
from sim_chip.random import Purpose

SLOW = 1  # flags of odd devices that still follow pulses
NOISY = 2


@dataclass(frozen=True)
class Incident:
    """What goes wrong for a while: as soon as so many pulses were given and so much time has passed.

    Both count from when the board is switched on.
    """

    pulses: int
    seconds: float
    lasts: float
    """Seconds, by the wall's clock."""
    place: float
    """Of a brown-out the volts that are left of the supply; else a rail or an array."""


@dataclass(frozen=True)
class FaultPlan:
    """What is wrong with a chip, instead of what its preset would draw.

    shares: shares of stuck and slow devices, drawn device by device; None keeps the preset's.
    kinds: exact map (arrays, rows, cols) of `Kind` codes; replaces drawn stuck devices.
    stuck_siemens: where devices of that map are stuck, NaN to draw; same shape.
    noisy: map of devices whose fluctuation is e² times larger; same shape.
    slow: map of devices that RESET later and less steeply; same shape; replaces drawn ones.
    dead_rows, dead_cols: (array, line) pairs. dead_adcs: (array, FIFO 0-3) pairs, answering 0.
    railed_tias: (array, column) pairs, answering full scale.
    brown_outs, stray_rails, stopped_adcs: incidents while a board works; they are no part of a chip.
    """

    shares: FaultShares | None = None
    kinds: NDArray[np.uint8] | None = None
    stuck_siemens: NDArray[np.float64] | None = None
    noisy: NDArray[np.bool_] | None = None
    slow: NDArray[np.bool_] | None = None
    dead_rows: tuple[tuple[int, int], ...] = ()
    dead_cols: tuple[tuple[int, int], ...] = ()
    dead_adcs: tuple[tuple[int, int], ...] = ()
    railed_tias: tuple[tuple[int, int], ...] = ()
    brown_outs: tuple[Incident, ...] = ()
    stray_rails: tuple[Incident, ...] = ()
    stopped_adcs: tuple[Incident, ...] = ()


_MAPS = ("kinds", "stuck_siemens", "noisy", "slow")
_PLACES = ("dead_rows", "dead_cols", "dead_adcs", "railed_tias")
_INCIDENTS = ("brown_outs", "stray_rails", "stopped_adcs")


def load_plan(path: Path) -> FaultPlan:
    """Read maps (arrays, rows, cols), places (n, 2) and incidents (n, 4) from an .npz; all are optional.

    Raises ValueError where the file is none, has a field there is not, or a place of another form.
    """
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise ValueError(f"{path} is not an .npz of faults")
    with archive:
        found = {name: archive[name] for name in archive.files}
    if unknown := found.keys() - {*_MAPS, *_PLACES, *_INCIDENTS}:
        known = ", ".join((*_MAPS, *_PLACES, *_INCIDENTS))
        raise ValueError(f"{path} has {', '.join(sorted(unknown))}; there are {known}")
    for name in _PLACES:
        if name in found and (found[name].ndim != 2 or found[name].shape[1] != 2):
            raise ValueError(f"{name} of {path} is (n, 2), array and line, not {found[name].shape}")
    for name in _INCIDENTS:
        if name in found and (found[name].ndim != 2 or found[name].shape[1] != 4):
            raise ValueError(
                f"{name} of {path} is (n, 4), pulses, seconds, how long and where, not {found[name].shape}"
            )
    rows, cols, adcs, tias = (tuple((int(a), int(n)) for a, n in found.get(name, ())) for name in _PLACES)
    kinds, stuck, noisy, slow = (found.get(name) for name in _MAPS)
    incidents = (tuple(map(_incident, found.get(name, ()))) for name in _INCIDENTS)
    return FaultPlan(None, kinds, stuck, noisy, slow, rows, cols, adcs, tias, *incidents)


def _incident(row: NDArray[np.float64]) -> Incident:
    pulses, seconds, lasts, place = (float(number) for number in row)
    return Incident(round(pulses), seconds, lasts, place)


def check(plan: FaultPlan, parameters: ChipParameters) -> None:
    """Refuse a plan for another chip: maps of other shapes, kinds and lines there are not."""
    shape = (parameters.arrays, parameters.rows, parameters.cols)
    for name in _MAPS:
        given = getattr(plan, name)
        if given is not None and np.shape(given) != shape:
            raise ValueError(f"{name} is {np.shape(given)}; this chip is {shape}")
    if plan.kinds is not None and not np.isin(plan.kinds, [int(kind) for kind in Kind]).all():
        raise ValueError(f"kinds of devices are {', '.join(f'{k:d} {k.name.lower()}' for k in Kind)}")
    for name, most in zip(_PLACES, (parameters.rows, parameters.cols, 4, parameters.cols), strict=True):
        for array, line in getattr(plan, name):
            if not (0 <= array < parameters.arrays and 0 <= line < most):
                raise ValueError(f"{name} names {array}, {line}; there are {parameters.arrays} times {most}")
    ends = (HIGHEST_UV / 1e6, len(Rail) - 1, parameters.arrays - 1)
    for name, end in zip(_INCIDENTS, ends, strict=True):
        for incident in getattr(plan, name):
            if not 0 <= incident.place <= end:
                raise ValueError(f"{name} names {incident.place:g}; allowed are 0 to {end:g}")


# µS range in which a stuck device lies, uniformly
_STUCK_US = {
    Kind.STUCK_ON: (200.0, 400.0),
    Kind.STUCK_OFF: (0.0, 1.0),
    Kind.STUCK_MIDDLE: (5.0, 150.0),
}


@dataclass(frozen=True)
class Planted:
    """Faults of one array: kind (devices,), flags (devices,), stuck units of 10 pS (devices,)."""

    kinds: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    stuck_units: NDArray[np.int32]


def plant(parameters: ChipParameters, plan: FaultPlan, seed: int, array: int) -> Planted:
    """Draw the faulty devices of one array; one draw a device whatever the shares are."""
    counters = np.arange(parameters.devices, dtype=np.uint64)
    draw = random.uniform(random.words(random.stream(seed, Purpose.FAULT, array), counters))
    place = random.uniform(random.words(random.stream(seed, Purpose.STUCK_VALUE, array), counters))
    shares = plan.shares or parameters.faults
    edges = np.cumsum([shares.on, shares.off, shares.middle, shares.slow])
    if edges[-1] > 1.0 + 1e-12 or min(shares.on, shares.off, shares.middle, shares.slow) < 0:
        raise ValueError(f"shares of faulty devices must be within 0 and 1 together: {shares}")
    kinds = np.select(
        [draw < edges[0], draw < edges[1], draw < edges[2]],
        [Kind.STUCK_ON, Kind.STUCK_OFF, Kind.STUCK_MIDDLE],
        Kind.HEALTHY,
    ).astype(np.uint8)
    flags = np.where((draw >= edges[2]) & (draw < edges[3]), SLOW, 0).astype(np.uint8)
    if plan.kinds is not None:
        kinds = np.asarray(plan.kinds[array], dtype=np.uint8).ravel().copy()
    if plan.slow is not None:
        flags = np.where(plan.slow[array].ravel(), SLOW, 0).astype(np.uint8)
    if plan.noisy is not None:
        flags |= np.where(plan.noisy[array].ravel(), NOISY, 0).astype(np.uint8)
    return Planted(kinds, flags, _stuck_units(plan, array, kinds, place))


def _stuck_units(
    plan: FaultPlan, array: int, kinds: NDArray[np.uint8], place: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Conductance (10 pS) at which each device of a stuck kind lies."""
    low = np.zeros(len(kinds))
    high = np.zeros(len(kinds))
    for kind, (lowest, highest) in _STUCK_US.items():
        low[kinds == kind], high[kinds == kind] = lowest, highest
    us = low + (high - low) * place
    if plan.stuck_siemens is not None:
        given = np.asarray(plan.stuck_siemens[array], dtype=np.float64).ravel()
        us = np.where(np.isnan(given), us, given * 1e6)
    return np.rint(us * UNITS_PER_US).astype(np.int32)
