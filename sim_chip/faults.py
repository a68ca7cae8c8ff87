"""Faults planted in a chip: stuck and odd devices, dead lines, dead converters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_chip import random
from sim_chip.device import UNITS_PER_US, Kind
from sim_chip.parameters import ChipParameters, FaultShares
from sim_chip.random import Purpose

SLOW = 1  # flags of odd devices that still follow pulses
NOISY = 2


@dataclass(frozen=True)
class FaultPlan:
    """What is wrong with a chip, instead of what its preset would draw.

    shares: shares of stuck and slow devices, drawn device by device; None keeps the preset's.
    kinds: exact map (arrays, rows, cols) of `Kind` codes; replaces drawn stuck devices.
    stuck_siemens: where devices of that map are stuck, NaN to draw; same shape.
    noisy: map of devices whose fluctuation is e² times larger; same shape.
    dead_rows, dead_cols: (array, line) pairs. dead_adcs: (array, FIFO 0-3) pairs, answering 0.
    railed_tias: (array, column) pairs, answering full scale.
    """

    shares: FaultShares | None = None
    kinds: NDArray[np.uint8] | None = None
    stuck_siemens: NDArray[np.float64] | None = None
    noisy: NDArray[np.bool_] | None = None
    dead_rows: tuple[tuple[int, int], ...] = ()
    dead_cols: tuple[tuple[int, int], ...] = ()
    dead_adcs: tuple[tuple[int, int], ...] = ()
    railed_tias: tuple[tuple[int, int], ...] = ()


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
