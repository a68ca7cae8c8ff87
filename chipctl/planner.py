"""Where the layers of a network lie best on a chip with faults, and what that spares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chipctl.fault_map import Flags, LineKind
from chipctl.mapping import Placement, Tile, device_range, place
from chipctl.profile import FaultMap

Costs = NDArray[np.float64]
Indices = NDArray[np.intp]

_ROUNDS = 8
"""Turns of choosing rows for the pairs and pairs for the rows; it stands still after two or three."""


def pair_costs(faults: FaultMap) -> Costs:
    """What the faults take of each pair of columns, shape (rows, cols / 2); 0 where both devices are healthy.

    The part of [-1, 1] that the weight can't take, and the square of the weight that can't be helped: what
    other weights must make up for. Infinite where nothing can be read at all, on a dead amplifier or ADC.
    """
    low, high = device_range(faults)
    lowest, highest = low[:, 0::2] - high[:, 1::2], high[:, 0::2] - low[:, 1::2]
    reach = np.maximum(np.minimum(highest, 1.0) - np.maximum(lowest, -1.0), 0.0)
    forced = np.clip(0.0, lowest, highest)
    costs = 1 - reach / 2 + forced**2
    costs[:, unreadable(faults).reshape(-1, 2).any(axis=1)] = np.inf
    return np.asarray(costs)


def unreadable(faults: FaultMap) -> Flags:
    """Columns whose codes are at an end of the ADC's range whatever is driven, shape (cols,)."""
    out = np.zeros(faults.kinds.shape[1], np.bool_)
    for line in faults.lines:
        if line.kind in (LineKind.AMPLIFIER, LineKind.CONVERTER):
            out[list(line.lines)] = True
    return out


def cost(placement: Placement, faults: Mapping[int, FaultMap]) -> float:
    """What the faults under a network take, in pairs' worth; see `pair_costs`."""
    costs = {array: pair_costs(faults[array]) for array in placement.arrays}
    tiles = [tile for layer in placement.layers for tile in layer]
    return float(sum(costs[tile.array][np.ix_(tile.rows, tile.pairs)].sum() for tile in tiles))


@dataclass(frozen=True)
class Plan:
    """A placement, and what it spares."""

    placement: Placement
    cost: float
    """What the faults under it take, in pairs' worth; see `pair_costs`."""
    naive_cost: float | None
    """The same of a placement that knows no faults; None where the network does not fit at once."""

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.placement.sizes))
        pairs = sum(a * b for a, b in pairwise(self.placement.sizes))
        lines = [f"{sizes}: {pairs} pairs, of which faults take {self.cost:.1f} pairs' worth"]
        if self.naive_cost is not None:
            lines[0] += f" ({self.naive_cost:.1f} if placed without looking)"
        if self.placement.loads > 1:
            lines.append(
                f"does not fit at once: the arrays are programmed {self.placement.loads} times in turn"
            )
        for index, tiles in enumerate(self.placement.layers):
            lines += [f"layer {index}: {_where(tile, self.placement.loads)}" for tile in tiles]
        return "\n".join(lines)


def _where(tile: Tile, loads: int) -> str:
    time = f"load {tile.load}, " if loads > 1 else ""
    inputs = f"inputs {tile.first_input}-{tile.inputs.stop - 1} on rows {_spans(tile.rows)}"
    outputs = f"outputs {tile.first_output}-{tile.outputs.stop - 1} on pairs {_spans(tile.pairs)}"
    return f"{time}array {tile.array}, {inputs}, {outputs}"


def _spans(numbers: Sequence[int]) -> str:
    """As 0-3, 7, 9-12."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def plan(sizes: Sequence[int], faults: Mapping[int, FaultMap], *, spread: bool = True) -> Plan:
    """Lay a network out where the faults of the arrays hurt least.

    Each layer takes the best rows and pairs of columns that are free; dead lines are passed by as far as
    there are others. What does not fit the arrays at once is laid out in several loads, programmed in turn.

    Args:
        sizes: Neurons per layer, inputs first.
        faults: The map of every array that may be used.
        spread: Take the best pairs wherever they lie, at the price of one product for each array they lie
            on; else as few arrays as hold a layer.

    Raises:
        ValueError: No column of any array can be read, or there is nothing to lay out.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"a network has two layers of neurons or more, not sizes {tuple(sizes)}")
    shape = next(iter(faults.values())).kinds.shape
    costs = {array: pair_costs(found) for array, found in faults.items()}
    tried = [_laid_out(sizes, costs, spread=wide) for wide in ((True, False) if spread else (False,))]
    naive = None
    if sorted(faults) == list(range(len(faults))):
        try:
            naive = place(sizes, len(faults), *shape)
        except ValueError:
            naive = None
    options = tried if naive is None or np.isinf(cost(naive, faults)) else [*tried, naive]
    best = min(options, key=lambda found: (found.loads, cost(found, faults)))
    return Plan(best, cost(best, faults), None if naive is None else cost(naive, faults))


def _laid_out(sizes: Sequence[int], costs: Mapping[int, Costs], *, spread: bool) -> Placement:
    rows = min(len(found) for found in costs.values())
    loads: list[dict[int, Costs]] = []
    layers = []
    for inputs, outputs in pairwise(sizes):
        tiles: list[Tile] = []
        for first_input in range(0, inputs, rows):
            band = min(rows, inputs - first_input)
            tiles += _band(loads, costs, (first_input, band, outputs), spread=spread)
        layers.append(tuple(sorted(tiles, key=lambda tile: tile.load)))
    return Placement(tuple(sizes), tuple(layers))


def _band(
    loads: list[dict[int, Costs]], costs: Mapping[int, Costs], what: tuple[int, int, int], *, spread: bool
) -> list[Tile]:
    """Tiles for some inputs of a layer and all its outputs, in the first loads that have room."""
    first_input, band, outputs = what
    tiles: list[Tile] = []
    load, done, is_new = 0, 0, False
    while done < outputs:
        if load == len(loads):
            loads.append({array: found.copy() for array, found in costs.items()})
            is_new = True
        chosen = _best(loads[load], band, outputs - done, spread=spread)
        if not chosen and is_new:
            raise ValueError("no column of any array can be read: there is nowhere to lay a layer out")
        for array, rows, pairs in chosen:
            for run in _readable_runs(pairs, costs[array]):
                tiles.append(Tile(array, rows, run, done, first_input, load))
                done += len(run)
            loads[load][array][np.ix_(rows, pairs)] = np.inf  # taken
        load, is_new = (load, False) if chosen else (load + 1, False)
    return tiles


def _readable_runs(pairs: Sequence[int], costs: Costs) -> list[tuple[int, ...]]:
    """The pairs, parted where one in between can't be read.

    A tile is sampled from its first pair to its last, and a column at the end of the ADC's range would lower
    the gain of all.
    """
    railed = np.asarray(np.isinf(costs).all(axis=0))
    runs: dict[int, list[int]] = {}
    for pair in pairs:
        runs.setdefault(int(railed[:pair].sum()), []).append(pair)
    return [tuple(run) for run in runs.values()]


def _best(
    free: Mapping[int, Costs], band: int, outputs: int, *, spread: bool
) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Array, rows and pairs for as many outputs as there is room for, the cheapest there are."""
    found = {array: _rows_and_pairs(costs, band, outputs) for array, costs in free.items()}
    ranked = [
        (cost, array, int(pair))
        for array, (_, pairs, each) in found.items()
        for pair, cost in zip(pairs, each, strict=True)
    ]
    if not spread:
        room = sorted(found, key=lambda array: (-len(found[array][1]), found[array][2].sum(), array))
        order = {array: place for place, array in enumerate(room)}
        ranked = [(float(order[array]), array, pair) for _, array, pair in ranked]
    chosen: dict[int, list[int]] = {}
    for _, array, pair in sorted(ranked)[:outputs]:
        chosen.setdefault(array, []).append(pair)
    return [
        (array, tuple(sorted(found[array][0].tolist())), tuple(sorted(chosen[array])))
        for array in sorted(chosen)
    ]


def _rows_and_pairs(costs: Costs, band: int, outputs: int) -> tuple[Indices, Indices, Costs]:
    """The best `band` rows with up to `outputs` pairs on them: rows, pairs, and what each pair costs."""
    rows = np.argsort(np.where(np.isfinite(costs), costs, len(costs)).sum(axis=1), kind="stable")[:band]
    best: tuple[Indices, Indices, Costs] = rows, np.empty(0, np.intp), np.empty(0)
    for _ in range(_ROUNDS):
        each = costs[rows].sum(axis=0)
        order = np.argsort(each, kind="stable")
        pairs = order[: min(outputs, int(np.isfinite(each).sum()))]
        if (len(pairs), -each[pairs].sum()) <= (len(best[1]), -best[2].sum()):
            break
        best = rows, pairs, each[pairs]
        rows = np.argsort(costs[:, pairs].sum(axis=1), kind="stable")[:band]
    return best
