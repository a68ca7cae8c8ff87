"""Signed weights on the chip: where each layer lies, and what every device of a pair should hold.

Weights are in units of the conductance span. Output k of a layer is the pair of neighbouring columns 2k
(positive) and 2k + 1 (negative), so an array holds half as many outputs as it has columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Siemens
from chipctl.converters import SPAN
from chipctl.profile import FaultMap

Weights = NDArray[np.floating]
Index = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Tile:
    """The part of one layer that lies on one array: some of its rows by some of its pairs of columns."""

    array: int
    rows: tuple[int, ...]
    """Row of each input, ascending."""
    pairs: tuple[int, ...]
    """Pair of columns of each output, ascending: pair k is columns 2k (positive) and 2k + 1."""
    first_output: int
    first_input: int
    load: int = 0
    """Which programming of the arrays it belongs to, from 0, where a network needs several in turn."""

    @property
    def outputs(self) -> slice:
        """Outputs of the layer that are here."""
        return slice(self.first_output, self.first_output + len(self.pairs))

    @property
    def inputs(self) -> slice:
        """Inputs of the layer that are here."""
        return slice(self.first_input, self.first_input + len(self.rows))

    @property
    def plus(self) -> Index:
        """Index of the positive devices in an array (rows, cols): gives shape (inputs, outputs)."""
        return np.array(self.rows)[:, None], 2 * np.array(self.pairs)[None]

    @property
    def minus(self) -> Index:
        """Index of the negative devices."""
        return np.array(self.rows)[:, None], 2 * np.array(self.pairs)[None] + 1


@dataclass(frozen=True)
class Placement:
    """Where every layer of a network lies."""

    sizes: tuple[int, ...]
    """Neurons per layer, inputs first."""
    layers: tuple[tuple[Tile, ...], ...]
    """Tiles of each layer."""

    @property
    def arrays(self) -> tuple[int, ...]:
        """Arrays in use."""
        return tuple(sorted({tile.array for tiles in self.layers for tile in tiles}))

    @property
    def loads(self) -> int:
        """Programmings of the arrays in one pass through all layers; 1 where all fits at once."""
        return 1 + max(tile.load for tiles in self.layers for tile in tiles)

    def shape(self, layer: int) -> tuple[int, int]:
        """(outputs, inputs) of a layer's weights."""
        return self.sizes[layer + 1], self.sizes[layer]

    def in_load(self, load: int) -> "Placement":
        """The tiles of one programming alone."""
        return replace(self, layers=tuple(tuple(t for t in tiles if t.load == load) for tiles in self.layers))


def place(sizes: Sequence[int], arrays: int, rows: int, cols: int) -> Placement:
    """Lay the layers of a network out on the arrays, each tile on the array with most rows free.

    Knows nothing of faults; `chipctl.planner.plan` does. A layer with more outputs than an array has column
    pairs is split over arrays or row bands; one with more inputs than rows is split too, its partial sums
    added by the host. All is on the chip at once.

    Raises:
        ValueError: The network needs more devices than the chip has.
    """
    free = [rows] * arrays
    layers = []
    for inputs, outputs in pairwise(sizes):
        tiles = []
        for first_input in range(0, inputs, rows):
            band = min(rows, inputs - first_input)
            for first_output in range(0, outputs, cols // 2):
                array = int(np.argmax(free))
                if free[array] < band:
                    raise ValueError(
                        f"{'-'.join(map(str, sizes))} does not fit {arrays} arrays of {rows}x{cols}: "
                        f"{band} more rows wanted, at most {free[array]} free on one array"
                    )
                pairs = min(cols // 2, outputs - first_output)
                start = rows - free[array]
                here = tuple(range(start, start + band)), tuple(range(pairs))
                tiles.append(Tile(array, *here, first_output, first_input))
                free[array] -= band
        layers.append(tuple(tiles))
    return Placement(tuple(sizes), tuple(layers))


@dataclass(frozen=True)
class PairRange:
    """What the two devices of each pair can hold, units of the span, shape (outputs, inputs) each."""

    plus_low: NDArray[np.float64]
    plus_high: NDArray[np.float64]
    minus_low: NDArray[np.float64]
    minus_high: NDArray[np.float64]


def pair_ranges(placement: Placement, faults: Mapping[int, FaultMap]) -> tuple[PairRange, ...]:
    """Per layer, the range of every pair's devices: 0 to 1, or one value where a device is stuck."""
    ranges = []
    for index, tiles in enumerate(placement.layers):
        shape = placement.shape(index)
        layer = PairRange(np.zeros(shape), np.ones(shape), np.zeros(shape), np.ones(shape))
        for tile in tiles:
            low, high = device_range(faults[tile.array])
            here = (tile.outputs, tile.inputs)
            layer.plus_low[here], layer.minus_low[here] = low[tile.plus].T, low[tile.minus].T
            layer.plus_high[here], layer.minus_high[here] = high[tile.plus].T, high[tile.minus].T
        ranges.append(layer)
    return tuple(ranges)


def device_range(faults: FaultMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest conductance of every device of an array, units of the span, shape (rows, cols)."""
    value = np.maximum(faults.conductance, 0.0) / SPAN
    return np.where(faults.stuck, value, 0.0), np.where(faults.stuck, value, 1.0)


def pair_conductances(weights: Weights, ranges: PairRange) -> tuple[Siemens, Siemens]:
    """Conductances of the positive and negative devices that hold `weights`, shape (outputs, inputs).

    A healthy pair keeps one device at zero; beside a stuck device the healthy one makes up the
    difference as far as it can.
    """
    plus = np.clip(weights + ranges.minus_low, ranges.plus_low, ranges.plus_high)
    minus = np.clip(plus - weights, ranges.minus_low, ranges.minus_high)
    return plus * SPAN, minus * SPAN


@dataclass(frozen=True)
class ArrayTarget:
    """What one array is to be programmed to, shapes (rows, cols)."""

    target: Siemens
    mask: NDArray[np.bool_]
    """Devices to program: those of the network that are not stuck."""
    used: NDArray[np.bool_]
    """Devices of the network, stuck ones included."""


def array_targets(
    placement: Placement, weights: Sequence[Weights], faults: Mapping[int, FaultMap]
) -> dict[int, ArrayTarget]:
    """Targets and masks of every array that a network uses, in one load."""
    targets = {
        array: ArrayTarget(
            np.zeros(faults[array].kinds.shape),
            np.zeros(faults[array].kinds.shape, np.bool_),
            np.zeros(faults[array].kinds.shape, np.bool_),
        )
        for array in placement.arrays
    }
    ranges = pair_ranges(placement, faults)
    for tiles, layer, pairs in zip(placement.layers, weights, ranges, strict=True):
        plus, minus = pair_conductances(layer, pairs)
        for tile in tiles:
            here = (tile.outputs, tile.inputs)
            at = targets[tile.array]
            at.target[tile.plus], at.target[tile.minus] = plus[here].T, minus[here].T
            at.used[tile.plus] = at.used[tile.minus] = True
    for array, at in targets.items():
        stuck = faults[array].stuck
        at.mask[:] = at.used & ~stuck
        at.target[stuck & at.used] = faults[array].conductance[stuck & at.used]
    return targets


def weights_from(placement: Placement, conductance: Mapping[int, Siemens]) -> tuple[Weights, ...]:
    """The weights, units of the span, that arrays of given conductance hold."""
    layers = []
    for index, tiles in enumerate(placement.layers):
        weights = np.zeros(placement.shape(index))
        for tile in tiles:
            held = conductance[tile.array]
            weights[tile.outputs, tile.inputs] = ((held[tile.plus] - held[tile.minus]) / SPAN).T
        layers.append(weights)
    return tuple(layers)


def on_tiles(placement: Placement) -> tuple[NDArray[np.bool_], ...]:
    """Per layer, the weights that lie on its tiles, shape (outputs, inputs): all, but of a single load."""
    found = []
    for index, tiles in enumerate(placement.layers):
        here = np.zeros(placement.shape(index), np.bool_)
        for tile in tiles:
            here[tile.outputs, tile.inputs] = True
        found.append(here)
    return tuple(found)
