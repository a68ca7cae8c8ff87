"""Recall on the chip: states drive rows, pair differences drive the next layer, until nothing flips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip
from chipctl.converters import SPAN
from chipctl.mapping import Placement, Tile, weights_from
from chipctl.memory.chain import Network, run_chain
from chipctl.memory.learning import Hidden, Layer, Recall, settle
from chipctl.memory.learning.layers import activate
from chipctl.products import Measure

States = NDArray[np.floating] | NDArray[np.int8]
Fields = NDArray[np.float64]

TANH_BITS = 7
"""Bits of magnitude with which tanh units drive rows; one bit suits ±1."""

_SLOPES = (0.3, 1.5)
"""Slopes that wires and calibration errors can make; a fit outside them is noise."""

_LIKENESS_GAIN = 2
"""TIA gain index that resolves one device over the whole span."""

_TYPICAL_LOAD = 0.15
"""Share of rows × span × read voltage that a column of trained weights draws in one phase: the first guess
at the TIA gain, lowered when a column saturates."""


@dataclass(frozen=True)
class ChipRecall(Recall):
    """What became of each cue on the chip."""

    energies: NDArray[np.float64]
    """Energy of every state, shape (iterations + 1, cues); see `energy`."""


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


@dataclass
class AssociativeMemory:
    """A network whose weights are on the chip.

    The chip must have been programmed to `layers` as `placement` lays them out; biases are added to the
    digitised column differences.
    """

    chip: Chip
    placement: Placement
    layers: Sequence[Layer]
    hidden: Hidden = "sign"
    reads: int = 1
    """Products averaged per field."""
    corrections: list[Correction] = field(default_factory=list)
    """One per layer once `calibrate` was called; none are applied before."""
    _gains: dict[tuple[int, int], int] = field(default_factory=dict)
    """TIA gain index in use per layer and tile."""

    def recall(
        self, cues: NDArray[np.int8], max_iterations: int = 20, *, on_board: bool = False
    ) -> ChipRecall:
        """Recall all cues, shape (cues, neurons) of ±1, synchronously until each is stable.

        One product per tile and iteration serves all cues. A tie keeps the neuron's old state. With
        `on_board` the board runs all of it by itself, on integers, with the same result for the same noise.
        """
        if on_board:
            return self._recall_on_board(np.asarray(cues, np.int8), max_iterations)
        seen: list[Fields] = []

        def fields_of(states: States) -> Fields:
            seen.append(self.fields(states))
            return seen[-1]

        found = settle(fields_of, cues, max_iterations)
        if len(seen) < len(found.states):
            fields_of(found.states[-1])
        pairs = zip(found.states, seen, strict=True)
        energies = np.stack([energy(self.layers, states, fields) for states, fields in pairs])
        return ChipRecall(found.states, found.iterations, found.settled, energies)

    def calibrate(self, states: States) -> None:
        """Measure how each output's field departs from the one its weights should give, and undo it.

        Args:
            states: Typical states to drive the chip with, shape (states, neurons): damaged patterns, say.
        """
        self.corrections = []
        for index, layer in enumerate(self.layers):
            expected = np.asarray(states @ layer.weights.T, np.float64)
            measured = self._layer_fields(index, states, self._bits(index))
            self.corrections.append(Correction.fitted(expected, measured))
            states = activate(expected + layer.bias, layer.gain, self.hidden)

    def _recall_on_board(self, cues: NDArray[np.int8], max_iterations: int) -> ChipRecall:
        """The chain job."""
        lines = [
            (correction.slope, correction.offset)
            for correction in self.corrections or [Correction.none(len(layer.bias)) for layer in self.layers]
        ]
        network = Network(self.placement, self.layers, lines, self._bits(1), self.reads, self._all_gains())
        found = run_chain(self.chip, network, cues, max_iterations)
        self._gains.update(network.gains)
        energies = -0.5 * (found.products + found.states @ self.layers[-1].bias.astype(np.float64))
        return ChipRecall(found.states, found.iterations, found.settled, energies)

    def _all_gains(self) -> dict[tuple[int, int], int]:
        return {
            (index, number): self._gain((index, number), tile)
            for index, tiles in enumerate(self.placement.layers)
            for number, tile in enumerate(tiles)
        }

    def _gain(self, key: tuple[int, int], tile: Tile) -> int:
        """TIA gain index in use for a tile."""
        typical = _TYPICAL_LOAD * tile.region.rows * self._amps_per_unit
        return self._gains.setdefault(key, self.chip.readout.highest_gain(typical))

    def likeness(self) -> float:
        """Correlation of the weights that the chip holds now, read once, with those it should hold.

        Near 1 after programming; near 0 when the arrays hold something else.
        """
        held = {array: self.chip.read(array, gain=_LIKENESS_GAIN) for array in self.placement.arrays}
        found = np.concatenate([w.ravel() for w in weights_from(self.placement, held)])
        wanted = np.concatenate([layer.weights.ravel() for layer in self.layers])
        return float(np.corrcoef(found, wanted)[0, 1])

    def fields(self, states: States) -> Fields:
        """Local fields of the last layer, units of span × read voltage, shape (cues, neurons)."""
        for index, layer in enumerate(self.layers):
            fields = self._layer_fields(index, states, self._bits(index))
            if self.corrections:
                fields = self.corrections[index].undo(fields)
            fields = fields + layer.bias
            states = activate(fields, layer.gain, self.hidden)
        return fields

    def _bits(self, index: int) -> int:
        """Bits of magnitude of a layer's inputs."""
        return 1 if index == 0 or self.hidden == "sign" else TANH_BITS

    def _layer_fields(self, index: int, states: States, bits: int) -> Fields:
        outputs, _ = self.placement.shape(index)
        fields = np.zeros((len(states), outputs))
        for number, tile in enumerate(self.placement.layers[index]):
            amps = self._tile_amps((index, number), tile, states[:, tile.inputs], bits)
            pairs = amps[:, tile.region.slices[1]]
            fields[:, tile.outputs] += (pairs[:, 0::2] - pairs[:, 1::2]) / self._amps_per_unit
        return fields

    def _tile_amps(self, key: tuple[int, int], tile: Tile, inputs: States, bits: int) -> Fields:
        """Column currents of one tile at a gain that does not saturate, kept from then on."""
        readout = self.chip.readout
        volts = np.zeros((len(inputs), self.chip.rows))
        volts[:, tile.region.slices[0]] = inputs * readout.read_volts
        measure = Measure(self._gain(key, tile), input_bits=bits, reads=self.reads, balanced=True)
        found = self.chip.product(tile.array, volts, measure)
        self._gains[key] = found.gain
        return found.amps

    @property
    def _amps_per_unit(self) -> float:
        return SPAN * self.chip.readout.read_volts


def cosine(states: NDArray[np.int8], patterns: NDArray[np.int8]) -> NDArray[np.float64]:
    """Cosine between ±1 states and patterns, along the last axis."""
    return np.asarray(np.mean(states.astype(np.float64) * patterns, axis=-1))


def energy(layers: Sequence[Layer], states: NDArray[np.int8], fields: Fields) -> NDArray[np.float64]:
    """Hopfield energy, eq. 1 of He et al. 2026, with the fields the chip gave; units of the span.

    E = -(state · (field - bias)) / 2 - state · bias, so with one layer E = -xWx/2 - bx. For chained layers
    the field is that of the last one: not a Lyapunov function, but it falls as states settle.
    """
    bias = layers[-1].bias
    return np.asarray(-0.5 * np.sum(states * (fields + bias), axis=-1))
