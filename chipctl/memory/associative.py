"""Recall on the chip: states drive rows, pair differences drive the next layer, until nothing flips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.chip import Chip
from chipctl.converters import SPAN
from chipctl.mapping import Placement, Tile, on_tiles, weights_from
from chipctl.memory.chain import Network, Task, run_chain
from chipctl.memory.learning import Hidden, Layer, forward
from chipctl.memory.learning.layers import activate
from chipctl.products import Measure

States = NDArray[np.floating] | NDArray[np.int8]
Fields = NDArray[np.float64]
Update = Literal["all", "random", "sweep"]
"""Which neurons are updated at a time: all, or one after the other in one of two orders."""

TANH_BITS = 7
"""Bits of magnitude with which tanh units drive rows; one bit suits ±1."""

_SLOPES = (0.3, 1.5)
"""Slopes that wires and calibration errors can make; a fit outside them is noise."""

_TYPICAL_LOAD = 0.15
"""Share of rows × span × read voltage that a column of trained weights draws in one phase: the first guess
at the TIA gain, lowered when a column saturates."""


@dataclass(frozen=True, repr=False)
class ChipRecall:
    """What became of each cue on the chip."""

    states: States
    """Shape (iterations + 1, cues, neurons), the cues first; int8 ±1, or float32 for continuous patterns.
    A cue that has ended keeps its state. Where neurons are updated one by one, the state after every sweep,
    as many updates as there are neurons."""
    iterations: NDArray[np.int64]
    """How often each cue's state changed; where neurons are updated one by one, the number of the last
    update that changed it."""
    periods: NDArray[np.int64]
    """How each cue ended: 1 at a fixed point, n > 1 in a cycle of n states, 0 when the iterations ran out."""
    energies: NDArray[np.float64]
    """Energy of every state, shape (iterations + 1, cues); see `energy`. Of the fields that the chip gave;
    where neurons are updated one by one, of those that its weights should give."""
    patterns: States | None = None
    """What is stored, shape (patterns, neurons), if it is known."""

    def __repr__(self) -> str:
        iterations, cues, neurons = len(self.states) - 1, self.periods.size, self.states.shape[-1]
        settled = int(self.settled.sum())
        return f"<recall of {cues} cues of {neurons} neurons: {settled} settled, {iterations} iterations>"

    @property
    def final(self) -> States:
        """The recalled states, shape (cues, neurons)."""
        final: States = self.states[-1]
        return final

    @property
    def settled(self) -> NDArray[np.bool_]:
        """True where a cue ended at a fixed point."""
        return np.equal(self.periods, 1)

    @property
    def similarity(self) -> NDArray[np.float64]:
        """Cosine of every state with every stored pattern, shape (iterations + 1, cues, patterns).

        Raises:
            ValueError: The memory was not told its patterns.
        """
        if self.patterns is None:
            raise ValueError("this memory does not know its patterns: give them to it as `patterns`")
        return cosine(self.states[..., None, :], self.patterns)

    @property
    def nearest(self) -> NDArray[np.intp]:
        """Stored pattern that each recalled state is most similar to, shape (cues,)."""
        return np.asarray(self.similarity[-1].argmax(axis=-1))


@dataclass(frozen=True)
class Correction:
    """The straight line from a layer's field as its weights should give it to the one the chip gives.

    measured = slope × expected + offset, shape (outputs,) each; offset in units of span × read voltage.
    Line resistance bends the slope (0.83 to 0.88 on the bench), misprogrammed weights shift the offset.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def none(cls, outputs: int) -> Self:
        """The chip gives what it should."""
        return cls(np.ones(outputs), np.zeros(outputs))

    @classmethod
    def fitted(cls, expected: Fields, measured: Fields) -> Self:
        """Least squares per output, from fields of shape (states, outputs)."""
        centred = expected - expected.mean(axis=0)
        spread = np.maximum((centred**2).sum(axis=0), 1e-12)
        slope = np.clip((centred * measured).sum(axis=0) / spread, *_SLOPES)
        return cls(slope, (measured - slope * expected).mean(axis=0))

    def undo(self, measured: Fields) -> Fields:
        """The fields that the weights should have given."""
        return (measured - self.offset) / self.slope


@dataclass(repr=False)
class AssociativeMemory:
    """A network whose weights are on the chip.

    The chip must have been programmed to `layers` as `placement` lays them out; biases are added to the
    digitised column differences.
    """

    chip: Chip
    placement: Placement
    layers: Sequence[Layer]
    hidden: Hidden = "sign"
    outputs: Hidden = "sign"
    """How neurons answer: their sign, or tanh for continuous patterns, in steps of 1/127."""
    reads: int = 1
    """Products averaged per field."""
    still: float = 0.03
    """Change of a continuous neuron in one iteration that counts as none."""
    corrections: list[Correction] = field(default_factory=list)
    """One per layer once `calibrate` was called; none are applied before."""
    patterns: States | None = None
    """What is stored, shape (patterns, neurons), for `ChipRecall.similarity`."""
    bring: Callable[[int], None] | None = None
    """Programs the arrays with one load of a placement that has several; see `chipctl.memory.writing`."""
    _gains: dict[tuple[int, int], int] = field(default_factory=dict)
    """TIA gain index in use per layer and tile."""

    def __repr__(self) -> str:
        sizes, arrays = "-".join(map(str, self.placement.sizes)), ", ".join(map(str, self.placement.arrays))
        known = "a memory" if self.patterns is None else f"a memory of {len(self.patterns)} patterns"
        kind = "±1" if self.outputs == "sign" else "continuous"
        loads = f" in {self.placement.loads} loads" if self.placement.loads > 1 else ""
        return f"<{known}, {kind}, {sizes}, on arrays {arrays} of chip {self.chip.profile.serial}{loads}>"

    def check_there(self) -> None:
        """Refuse to go on where the weights are known not to be on the chip any more; here nobody knows."""

    def recall(
        self,
        cues: ArrayLike,
        max_iterations: int = 20,
        *,
        update: Update = "all",
        seed: int = 0,
        on_board: bool = False,
    ) -> ChipRecall:
        """Recall all cues, shape (cues, neurons) of ±1 or in [-1, 1], until each is stable.

        A tie keeps the neuron's old state. With `on_board` the board runs all of it by itself; the states
        are the same, bit by bit, on the same noise.

        Args:
            cues: Damaged patterns.
            max_iterations: Give up after so many updates of all neurons; 255 at most.
            update: `all` neurons at a time (He et al., eq. 2), or one after the other: `random`, drawn with
                replacement, or in a `sweep`, every neuron once in an order drawn anew each time. All cues
                share the order. An update of one neuron reads the pair of columns of that neuron alone.
            seed: Draws the order.
            on_board: In one job on the board; not for a network that does not fit the arrays at once.

        Raises:
            ValueError: Cues of another shape or values; no such `update`; too many iterations; `on_board` for
                several loads. Nothing was sent.
            ChipctlError: The arrays were pulsed since a memory of `store` was programmed.
            SaturationError: A column was at the end of the ADC's range at the lowest gain.
        """
        states = self._checked(cues)
        if self.placement.loads > 1 and (on_board or self.bring is None):
            raise ValueError("a network of several loads is recalled from the host, which must program them")
        task = Task(states, max_iterations, still=0.0 if self.outputs == "sign" else self.still)
        task = replace(task, order=draw_order(update, states.shape[1], max_iterations, seed))
        self.check_there()
        network = self._network()
        found = run_chain(self.chip, network, task, None if on_board else self.bring or _nothing_to_bring)
        self._gains.update(network.gains)
        states = found.states  # type: ignore[assignment]
        return ChipRecall(
            states, found.iterations, found.periods, self._energies(states, found.products), self.patterns
        )

    def _checked(self, cues: ArrayLike) -> States:
        given: States = np.atleast_2d(as_states(cues, "cues"))  # type: ignore[assignment]
        if given.ndim != 2 or given.shape[1] != self.placement.sizes[0] or not len(given):
            raise ValueError(f"cues are (cues, {self.placement.sizes[0]}), not {np.shape(given)}")
        if self.outputs == "sign" and given.dtype != np.int8:
            raise ValueError("cues must be ±1: this memory answers with signs")
        return given

    def _energies(self, states: States, products: Fields) -> NDArray[np.float64]:
        if len(products) == len(states):
            return np.asarray(-0.5 * (products + states @ self.layers[-1].bias.astype(np.float64)))
        exact = states.astype(np.float64)
        return energy(self.layers, exact, forward(self.layers, exact, self.hidden))

    def _network(self) -> Network:
        lines = [
            (correction.slope, correction.offset)
            for correction in self.corrections or [Correction.none(len(layer.bias)) for layer in self.layers]
        ]
        bits = [TANH_BITS if units == "tanh" else 1 for units in (self.outputs, self.hidden)]
        return Network(self.placement, self.layers, lines, bits[0], bits[1], self.reads, self._all_gains())

    def calibrate(self, states: States) -> None:
        """Measure how each output's field departs from the one its weights should give, and undo it.

        Args:
            states: Typical states to drive the chip with, shape (states, neurons): damaged patterns, say.
        """
        self.check_there()
        self.corrections = []
        for index, layer in enumerate(self.layers):
            expected = np.asarray(states @ layer.weights.T, np.float64)
            measured = self._layer_fields(index, states, self._bits(index))
            self.corrections.append(Correction.fitted(expected, measured))
            states = activate(expected + layer.bias, layer.gain, self.hidden)

    def _all_gains(self) -> dict[tuple[int, int], int]:
        return {
            (index, number): self._gain((index, number), tile)
            for index, tiles in enumerate(self.placement.layers)
            for number, tile in enumerate(tiles)
        }

    def _gain(self, key: tuple[int, int], tile: Tile) -> int:
        """TIA gain index in use for a tile."""
        typical = _TYPICAL_LOAD * len(tile.rows) * self._amps_per_unit
        return self._gains.setdefault(key, self.chip.readout.highest_gain(typical))

    def likeness(self) -> float:
        """Correlation of the weights that the chip holds now, read once, with those it should hold.

        Near 1 after programming; near 0 when the arrays hold something else. Of a network in several loads
        the one that was programmed last is looked at.
        """
        return max(map(self._likeness, range(self.placement.loads)))

    def _likeness(self, load: int) -> float:
        part = self.placement.in_load(load)
        found, wanted = weights_from(part, self._read(part)), [layer.weights for layer in self.layers]
        here = on_tiles(part)
        pairs = [np.stack([f[at], w[at]]) for f, w, at in zip(found, wanted, here, strict=True)]
        return float(np.corrcoef(np.concatenate(pairs, axis=1))[0, 1])

    def read(self, reads: int = 1) -> dict[int, NDArray[np.float64]]:
        """Conductances of the arrays in use, by array, shape (rows, cols); the gain is chosen per device."""
        return self._read(self.placement, reads)

    def _read(self, part: Placement, reads: int = 1) -> dict[int, NDArray[np.float64]]:
        return {array: self.chip.read(array, reads=reads) for array in part.arrays}

    def held(self, reads: int = 1) -> list[Layer]:
        """The layers as the chip holds them, by `reads` reads of every device.

        A network in several loads is programmed load after load for it.

        Raises:
            ValueError: It is in several loads and was not told who programs them; nothing was sent.
        """
        loads = range(self.placement.loads)
        if len(loads) > 1 and self.bring is None:
            raise ValueError("a network of several loads is read only with somebody who brings them: `bring`")
        weights = [np.zeros(layer.weights.shape) for layer in self.layers]
        for load in loads:
            if self.bring is not None:
                self.bring(load)
            part = self.placement.in_load(load)
            for total, found in zip(weights, weights_from(part, self._read(part, reads)), strict=True):
                total += found
        return [
            replace(layer, weights=found.astype(np.float32))
            for layer, found in zip(self.layers, weights, strict=True)
        ]

    def fields(self, states: States) -> Fields:
        """Local fields of the last layer, units of span × read voltage, shape (cues, neurons).

        Raises `ChipctlError` as `recall` does.
        """
        self.check_there()
        for index, layer in enumerate(self.layers):
            fields = self._layer_fields(index, states, self._bits(index))
            if self.corrections:
                fields = self.corrections[index].undo(fields)
            fields = fields + layer.bias
            states = activate(fields, layer.gain, self.hidden)
        return fields

    def _bits(self, index: int) -> int:
        """Bits of magnitude of a layer's inputs."""
        return TANH_BITS if (self.outputs if index == 0 else self.hidden) == "tanh" else 1

    def _layer_fields(self, index: int, states: States, bits: int) -> Fields:
        outputs, _ = self.placement.shape(index)
        fields = np.zeros((len(states), outputs))
        for number, tile in enumerate(self.placement.layers[index]):
            if self.bring is not None:
                self.bring(tile.load)
            amps = self._tile_amps((index, number), tile, states[:, tile.inputs], bits)
            at = 2 * (np.array(tile.pairs) - tile.pairs[0])
            fields[:, tile.outputs] += (amps[:, at] - amps[:, at + 1]) / self._amps_per_unit
        return fields

    def _tile_amps(self, key: tuple[int, int], tile: Tile, inputs: States, bits: int) -> Fields:
        """Currents of a tile's columns, first to last, at a gain that does not saturate; kept."""
        readout = self.chip.readout
        volts = np.zeros((len(inputs), self.chip.rows))
        volts[:, tile.rows] = inputs * readout.read_volts
        cols = 2 * tile.pairs[0], 2 * (tile.pairs[-1] - tile.pairs[0] + 1)
        measure = Measure(self._gain(key, tile), input_bits=bits, reads=self.reads, balanced=True, cols=cols)
        found = self.chip.product(tile.array, volts, measure)
        self._gains[key] = found.gain
        return found.amps

    @property
    def _amps_per_unit(self) -> float:
        return SPAN * self.chip.readout.read_volts


def draw_order(update: Update, neurons: int, sweeps: int, seed: int) -> NDArray[np.int64]:
    """Neurons to update one after the other, shape (sweeps × neurons,); empty for all at a time.

    Raises:
        ValueError: There is no such way to update.
    """
    if update not in get_args(Update):
        raise ValueError(
            "neurons are updated `all` at a time, or one by one: `random` (drawn with replacement, the usual "
            f"asynchronous recall) or `sweep` (each once, in an order drawn anew), not {update!r}"
        )
    rng = np.random.default_rng(seed)
    if update == "all":
        return np.empty(0, np.int64)
    if update == "random":
        return rng.integers(neurons, size=sweeps * neurons)
    return np.concatenate([rng.permutation(neurons) for _ in range(sweeps)])


def as_states(given: ArrayLike, name: str) -> States:
    """States from what a caller has: int8 where all are ±1, else floats as they were given.

    Raises:
        ValueError: No numbers, or outside [-1, 1], or of 0 and 1, as pixels are and states are not.
    """
    try:
        found = np.asarray(given)
    except ValueError:
        raise ValueError(f"{name} must be of equal length each") from None
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} are numbers in [-1, 1], not {found.dtype}")
    exact = found.astype(np.float64)
    if found.dtype.kind == "b" or set(np.unique(exact)) == {0.0, 1.0}:
        raise ValueError(f"{name} are 0 and 1, but states are -1 and 1: write 2.0 * {name} - 1")
    if not np.all(np.abs(exact) <= 1):
        what = f"from {exact.min():g} to {exact.max():g}" if np.isfinite(exact).all() else "not finite"
        raise ValueError(f"{name} must be ±1, or continuous in [-1, 1]; these are {what}")
    if np.all(np.abs(exact) == 1):
        return found.astype(np.int8)
    floats: NDArray[np.floating] = found if found.dtype.kind == "f" else exact
    return floats


def _nothing_to_bring(load: int) -> None:
    """All is on the chip."""
    del load


def cosine(states: States, patterns: States) -> NDArray[np.float64]:
    """Cosine between states and patterns, along the last axis; 0 where a state is all zero."""
    one, other = np.asarray(states, np.float64), np.asarray(patterns, np.float64)
    sizes = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.asarray(np.sum(one * other, axis=-1) / np.maximum(sizes, 1e-12))


def energy(layers: Sequence[Layer], states: States, fields: States) -> NDArray[np.float64]:
    """Hopfield energy, eq. 1 of He et al. 2026, with the fields the chip gave; units of the span.

    E = -(state · (field - bias)) / 2 - state · bias, so with one layer E = -xWx/2 - bx. For chained layers
    the field is that of the last one: not a Lyapunov function, but it falls as states settle.
    """
    bias = layers[-1].bias
    return np.asarray(-0.5 * np.sum(states * (fields + bias), axis=-1))
