"""A recall on integers: products in, states out; the loop behind `StartChain`.

A board runs it in its own job, a host runs it for a board that cannot or where arrays must be programmed in
between; both come to the same states from the same products because this is the one place where they are
taken. No I/O: whoever runs it makes the products it asks for.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.messages import StartChain
from firmware_protocol.plans import NO_TILE, ChainPlan, ChainReport, LayerPlan, TilePlan

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """A product to be made: rows of one tile driven, both signs apart, and a span of columns sampled."""

    layer: int
    tile: int
    plan: TilePlan
    inputs: Ints
    """Of the tile's rows, shape (cues, rows of the tile)."""
    input_bits: int
    gain: int
    """Index to begin with; to be lowered by one while a conversion is at its end."""
    col: int
    col_count: int

    def driven(self, rows: int) -> Ints:
        """Inputs of all rows of the array, shape (cues, rows)."""
        driven = np.zeros((len(self.inputs), rows), np.int64)
        driven[:, self.plan.rows] = self.inputs
        return driven


@dataclass(frozen=True)
class Made:
    """The sums of codes of a product, shape (cues, columns)."""

    sums: Ints
    gains: Ints
    """Gain index that each cue's sums are of, shape (cues,)."""
    clipped: bool
    """A conversion was at its end even at the lowest gain."""


Products = Generator[Wanted, Made, None]


class Chain:
    """One recall of all cues: layer by layer until every one is stable, or neuron by neuron."""

    def __init__(self, request: StartChain, plan: ChainPlan, gain_ohms: Sequence[int]) -> None:
        self._request, self._plan = request, plan
        self._weights = np.array([request.common_ohms // ohms for ohms in gain_ohms])
        cues = len(plan.cues)
        self._now = plan.cues.astype(np.int64)
        self._states = [self._now]
        self._sums: list[Ints] = []
        self._changes, self._periods = np.zeros(cues, np.int64), np.zeros(cues, np.int64)
        self._running = np.ones(cues, np.bool_)
        self._clipped = (NO_TILE, NO_TILE)
        self._looks = 0
        tiles = [(i, n, tile) for i, layer in enumerate(plan.layers) for n, tile in enumerate(layer.tiles)]
        self._gains = {(index, number): tile.gain for index, number, tile in tiles}

    @property
    def looks(self) -> int:
        """Iterations, or updates of single neurons, so far."""
        return self._looks

    @property
    def settled(self) -> int:
        """Cues at a fixed point."""
        return int(np.count_nonzero(self._periods == 1))

    def run(self) -> Products:
        """The products that the recall needs, one after the other; ends when the recall has."""
        return self._one_by_one() if self._plan.order.size else self._all_at_once()

    def report(self) -> ChainReport:
        """What became of the cues."""
        traced = bool(self._request.trace)
        states = np.stack(self._states if traced else self._states[-1:])
        sums = np.array(self._sums if traced else [], np.int64).reshape(-1, len(self._now))
        gains = tuple(self._gains.values())
        return ChainReport(self._changes, self._periods, states, sums, gains, *self._clipped)

    # All neurons at a time

    def _all_at_once(self) -> Products:
        for _ in range(self._request.max_iterations):
            fields = yield from self._biased()
            if fields is None:
                return
            if not self._step(fields):
                break
        if self._request.trace and len(self._sums) < len(self._states):
            yield from self._biased()

    def _biased(self) -> Generator[Wanted, Made, Ints | None]:
        """Fields of the last layer at the present states, kept for the energy."""
        inputs = yield from self._last_inputs(self._now)
        fields = None if inputs is None else (yield from self._fields(len(self._plan.layers) - 1, inputs))
        if fields is not None:
            self._looks += 1
            self._sums.append((self._now * fields).sum(axis=1))
        return fields

    def _step(self, fields: Ints) -> bool:
        """Take the new states; False when no cue goes on."""
        old = self._now
        new = np.where(self._running[:, None], self._answered(fields, old), old)
        still = (np.abs(new - old) <= self._request.still).all(axis=1)
        new[still] = old[still]
        self._periods[self._running & still] = 1
        self._running &= ~still
        self._changes += self._running
        if not self._running.any():
            return False
        for back, past in enumerate(reversed(self._states), 1):
            returned = self._running & (new == past).all(axis=1)
            self._periods[returned] = back
            self._running &= ~returned
        self._now = new
        self._states.append(new)
        return True

    def _answered(self, fields: Ints, old: Ints) -> Ints:
        """New states of the last layer's units; at 0 a sign keeps the old one."""
        last = self._plan.layers[-1]
        if last.thresholds.size:
            return last.answers(fields)
        return np.where(fields == 0, old, np.sign(fields))

    # One neuron at a time

    def _one_by_one(self) -> Products:
        """Update neurons in the given order; a cue is stable once all stayed since its last change."""
        self._now = self._now.copy()
        looked = np.zeros(self._now.shape, np.bool_)
        for neuron in self._plan.order.tolist():
            running = np.flatnonzero(self._running)
            fields = yield from self._field_of(neuron, self._now[running])
            if fields is None:
                return
            self._looks += 1
            self._turn(neuron, running, fields, looked)
            if self._looks % self._now.shape[1] == 0:
                self._states.append(self._now.copy())
            if not self._running.any():
                break
        if self._looks % self._now.shape[1]:
            self._states.append(self._now)

    def _field_of(self, neuron: int, states: Ints) -> Generator[Wanted, Made, Ints | None]:
        inputs = yield from self._last_inputs(states)
        if inputs is None:
            return None
        return (yield from self._fields(len(self._plan.layers) - 1, inputs, neuron))

    def _turn(self, neuron: int, running: NDArray[np.intp], fields: Ints, looked: NDArray[np.bool_]) -> None:
        """Let one neuron of the running cues answer its fields (cues, 1)."""
        old = self._now[running, neuron]
        new = self._answered(fields, old[:, None])[:, 0]
        moved = np.abs(new - old) > self._request.still
        self._now[running[moved], neuron] = new[moved]
        self._changes[running[moved]] = self._looks
        looked[running[moved]] = False
        looked[running[~moved], neuron] = True
        stable = running[looked[running].all(axis=1)]
        self._periods[stable], self._running[stable] = 1, False

    # Layers

    def _last_inputs(self, states: Ints) -> Generator[Wanted, Made, Ints | None]:
        """What drives the last layer."""
        for index, layer in enumerate(self._plan.layers[:-1]):
            fields = yield from self._fields(index, states)
            if fields is None:
                return None
            states = layer.answers(fields)
        return states

    def _fields(
        self, index: int, inputs: Ints, output: int | None = None
    ) -> Generator[Wanted, Made, Ints | None]:
        """Biased sums of a layer, or of one output (cues, 1); None where a conversion was at its end."""
        layer = self._plan.layers[index]
        chosen = slice(None) if output is None else slice(output, output + 1)
        sums = np.zeros((len(inputs), layer.outputs), np.int64)
        for number, tile in enumerate(layer.tiles):
            if output is None or tile.first_output <= output < tile.first_output + len(tile.pairs):
                pairs = yield from self._pairs((index, number), layer, inputs, output)
                if pairs is None:
                    return None
                at = tile.first_output if output is None else output
                sums[:, at : at + pairs.shape[1]] += pairs
        return sums[:, chosen] * layer.scale[chosen] + layer.bias[chosen]

    def _pairs(
        self, key: tuple[int, int], layer: LayerPlan, inputs: Ints, output: int | None
    ) -> Generator[Wanted, Made, Ints | None]:
        """Weighted differences of a tile's pairs of columns, or of the one that gives `output`."""
        tile = layer.tiles[key[1]]
        pairs = tile.pairs if output is None else tile.pairs[output - tile.first_output :][:1]
        first, last = pairs[0], pairs[-1]
        own = inputs[:, tile.first_input : tile.first_input + len(tile.rows)]
        wanted = Wanted(
            *key, tile, own, layer.input_bits, self._gains[key], 2 * first, 2 * (last - first + 1)
        )
        made = yield wanted
        self._gains[key] = int(made.gains[-1])
        if made.clipped:
            self._clipped = key
            return None
        at = 2 * (np.array(pairs) - first)
        differences = made.sums[:, at] - made.sums[:, at + 1]
        return np.asarray(differences * self._weights[made.gains][:, None], np.int64)
