"""How plans and reports of chain and scan jobs lie in the buffers: both ways of each layout, once.

Integers only. Biases and thresholds of a chain are fixed-point numbers in weighted sums of codes, with
`CHAIN_FRACTION_BITS` bits after the point.
"""

import struct
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.bulk import Flags, Ints
from firmware_protocol.wire import WireError

NO_TILE = 0xFF

_LAYER = struct.Struct("<BBHHH")
_TILE = struct.Struct("<BBHH")
_HEAD = struct.Struct("<BBHHI")


class _Reader:
    """Takes numbers off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self._take(layout.size))

    def numbers(self, kind: str, count: int) -> Ints:
        return np.frombuffer(self._take(np.dtype(kind).itemsize * count), kind).astype(np.int64)

    def states(self, shape: tuple[int, ...], state_bits: int) -> NDArray[np.int8]:
        if state_bits > 1:
            return self.numbers("i1", int(np.prod(shape))).astype(np.int8).reshape(shape)
        return np.where(self.flags(shape), 1, -1).astype(np.int8)

    def flags(self, shape: tuple[int, ...]) -> Flags:
        count = int(np.prod(shape))
        octets = np.frombuffer(self._take((count + 7) // 8), np.uint8)
        return np.unpackbits(octets, count=count, bitorder="little").astype(np.bool_).reshape(shape)

    def end(self) -> None:
        if self._offset != len(self._data):
            raise WireError(f"{len(self._data) - self._offset} bytes too many")

    def _take(self, size: int) -> bytes:
        piece = self._data[self._offset : self._offset + size]
        if len(piece) != size:
            raise WireError(f"{len(self._data)} bytes are too few: {size} more wanted at {self._offset}")
        self._offset += size
        return piece


def _bits(flags: NDArray[np.generic]) -> bytes:
    return np.packbits(flags.astype(np.bool_), bitorder="little").tobytes()


@dataclass(frozen=True)
class TilePlan:
    """The part of a layer on one array: some rows by some pairs of columns, both ascending."""

    array: int
    gain: int
    """Index to begin with; lowered where a conversion is at its end."""
    first_output: int
    first_input: int
    rows: tuple[int, ...]
    """Row of each input, from `first_input` on."""
    pairs: tuple[int, ...]
    """Pair of columns of each output: k stands for columns 2k and 2k + 1."""

    def pack(self, shape: tuple[int, int]) -> bytes:
        """For an array of `shape` (rows, cols)."""
        head = _TILE.pack(self.array, self.gain, self.first_output, self.first_input)
        return head + _places(self.rows, shape[0]) + _places(self.pairs, shape[1] // 2)


def _places(chosen: tuple[int, ...], count: int) -> bytes:
    flags = np.zeros(count, np.bool_)
    flags[list(chosen)] = True
    return _bits(flags)


@dataclass(frozen=True)
class LayerPlan:
    """One layer: its tiles, and what its units do with the sum of their pairs."""

    input_bits: int
    inputs: int
    tiles: tuple[TilePlan, ...]
    scale: Ints
    """What a weighted code counts, fixed point, shape (outputs,)."""
    bias: Ints
    """Fixed point, shape (outputs,)."""
    thresholds: Ints
    """Fixed point, ascending, an even number: a unit answers with the number of thresholds that its sum
    reaches, less half of them. None: it answers with its sign."""

    @property
    def outputs(self) -> int:
        """Units of the layer."""
        return int(self.bias.size)

    def answers(self, fields: Ints) -> Ints:
        """What the units drive the next layer with; a sign of 0 is +1."""
        if not self.thresholds.size:
            return np.where(fields >= 0, 1, -1)
        reached = np.searchsorted(self.thresholds, fields, side="right")
        return np.asarray(reached - self.thresholds.size // 2, np.int64)

    def pack(self, shape: tuple[int, int]) -> bytes:
        """For arrays of `shape` (rows, cols)."""
        sizes = (self.outputs, self.inputs, self.thresholds.size)
        tables = ((self.scale, "<u4"), (self.bias, "<i8"), (self.thresholds, "<i8"))
        parts = [_LAYER.pack(len(self.tiles), self.input_bits, *sizes)]
        parts += [tile.pack(shape) for tile in self.tiles]
        return b"".join(parts + [table.astype(kind).tobytes() for table, kind in tables])


@dataclass(frozen=True)
class ChainPlan:
    """What is staged for `StartChain`."""

    layers: tuple[LayerPlan, ...]
    order: Ints
    """Neuron of each update; empty where all are updated at a time."""
    cues: NDArray[np.int8]
    """Shape (cues, neurons): ±1, or steps of a state of more bits."""

    def pack(self, shape: tuple[int, int], state_bits: int = 1) -> bytes:
        """The staged bytes, for arrays of `shape` (rows, cols)."""
        parts = [layer.pack(shape) for layer in self.layers]
        return b"".join([*parts, self.order.astype("<u2").tobytes(), _states(self.cues, state_bits)])

    @classmethod
    def unpack(cls, data: bytes, size: "ChainSize", shape: tuple[int, int]) -> Self:
        """The plan for arrays of `shape` (rows, cols)."""
        reader = _Reader(data)
        layers = tuple(_layer(reader, shape) for _ in range(size.layers))
        order = reader.numbers("<u2", size.updates)
        cues = reader.states((size.cues, size.neurons), size.state_bits)
        reader.end()
        return cls(layers, order, cues)


class ChainSize(Protocol):
    """How much of what there is in plan and report of a chain: `StartChain`."""

    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def neurons(self) -> int: ...  # noqa: D102
    @property
    def cues(self) -> int: ...  # noqa: D102
    @property
    def updates(self) -> int: ...  # noqa: D102
    @property
    def state_bits(self) -> int: ...  # noqa: D102


def _layer(reader: _Reader, shape: tuple[int, int]) -> LayerPlan:
    count, input_bits, outputs, inputs, thresholds = reader.fields(_LAYER)
    tiles = tuple(_tile(reader, shape) for _ in range(count))
    scale, bias = reader.numbers("<u4", outputs), reader.numbers("<i8", outputs)
    return LayerPlan(input_bits, inputs, tiles, scale, bias, reader.numbers("<i8", thresholds))


def _tile(reader: _Reader, shape: tuple[int, int]) -> TilePlan:
    array, gain, first_output, first_input = reader.fields(_TILE)
    rows, pairs = (
        tuple(np.flatnonzero(reader.flags((count,))).tolist()) for count in (shape[0], shape[1] // 2)
    )
    return TilePlan(array, gain, first_output, first_input, rows, pairs)


def _states(states: NDArray[np.signedinteger], state_bits: int) -> bytes:
    return _bits(states > 0) if state_bits == 1 else states.astype("i1").tobytes()


@dataclass(frozen=True)
class ChainReport:
    """What became of every cue; a trace holds states on the way, else `states` holds the last ones alone."""

    changes: Ints
    """Changes of state, or number of the last update that changed it, shape (cues,)."""
    periods: Ints
    """1: at a fixed point; above: length of the cycle it is in; 0: neither; shape (cues,)."""
    states: NDArray[np.signedinteger]
    """Shape (states, cues, neurons)."""
    products: Ints
    """State times its fields, fixed point, added up over the neurons, shape (states, cues); shape
    (0, cues) without a trace, and where neurons are updated one by one."""
    gains: tuple[int, ...]
    """Index in use at the end, by layer and tile."""
    clipped_layer: int = NO_TILE
    """The tile at which a conversion was at the end of its range at the lowest gain, which ended the job."""
    clipped_tile: int = NO_TILE

    def pack(self, state_bits: int = 1) -> bytes:
        """The result of `OpenReport`."""
        return (
            _HEAD.pack(
                self.clipped_layer, self.clipped_tile, len(self.gains), len(self.states), len(self.products)
            )
            + bytes(self.gains)
            + self.changes.astype("<u2").tobytes()
            + self.periods.astype("u1").tobytes()
            + _states(self.states, state_bits)
            + self.products.astype("<i8").tobytes()
        )

    @classmethod
    def unpack(cls, data: bytes, size: ChainSize) -> Self:
        """The report on the chain that was asked for."""
        reader = _Reader(data)
        layer, tile, tiles, states, products = reader.fields(_HEAD)
        gains = tuple(int(gain) for gain in reader.numbers("u1", tiles))
        changes, periods = reader.numbers("<u2", size.cues), reader.numbers("u1", size.cues)
        found = reader.states((states, size.cues, size.neurons), size.state_bits)
        sums = reader.numbers("<i8", products * size.cues).reshape(products, size.cues)
        reader.end()
        return cls(changes, periods, found, sums, gains, layer, tile)


def chain_report_bytes(size: ChainSize, max_iterations: int, *, trace: bool) -> int:
    """Length of the longest report of such a chain, with room for the gains of 256 tiles."""
    iterations = -(-size.updates // max(1, size.neurons)) if size.updates else max_iterations
    states = iterations + 1 if trace or size.updates else 1
    sums = 8 * states * size.cues if trace else 0
    units = states * size.cues * size.neurons
    return _HEAD.size + 256 + 3 * size.cues + (units if size.state_bits > 1 else (units + 7) // 8) + sums


@dataclass(frozen=True)
class ScanPlan:
    """What is staged for `StartScan`."""

    set_codes: Ints
    """Voltage codes, shape (pairs,)."""
    reset_codes: Ints
    chosen: Flags
    """Devices that may be pulsed, shape (rows, cols)."""

    def pack(self) -> bytes:
        """The staged bytes."""
        return (
            self.set_codes.astype("<u2").tobytes()
            + self.reset_codes.astype("<u2").tobytes()
            + _bits(self.chosen)
        )

    @classmethod
    def unpack(cls, data: bytes, pairs: int, shape: tuple[int, int]) -> Self:
        """The plan for an array of `shape` (rows, cols)."""
        reader = _Reader(data)
        codes = reader.numbers("<u2", pairs), reader.numbers("<u2", pairs)
        chosen = reader.flags(shape)
        reader.end()
        return cls(*codes, chosen)


def scan_plan_bytes(pairs: int, devices: int) -> int:
    """Length of a packed `ScanPlan`."""
    return 4 * pairs + (devices + 7) // 8


_SCAN_BLOCKS = {
    "looks": "<u2",
    "total": "<u4",
    "squares": "<u8",
    "moved": "u1",
    "lowered": "u1",
    "last": "<u2",
    "pulses": "<u2",
}


@dataclass(frozen=True)
class ScanCodes:
    """What a finished scan says of each device; arrays of one shape."""

    looks: Ints
    """Looks before lowering, since and with the one at which it moved; all if it did not."""
    total: Ints
    """Of the sums of codes of those looks."""
    squares: Ints
    """Total of the squares of those sums."""
    moved: Ints
    """Pair of pulses at which it moved, from 1; 0 if it did not."""
    lowered: Ints
    """RESET pulses given to leave it low."""
    last: Ints
    """Sum of codes of the last look of all."""
    pulses: Ints

    def pack(self) -> bytes:
        """The result of `OpenReport`."""
        return b"".join(getattr(self, name).astype(kind).tobytes() for name, kind in _SCAN_BLOCKS.items())

    @classmethod
    def unpack(cls, data: bytes, shape: tuple[int, int]) -> Self:
        """The report on an array of `shape` (rows, cols)."""
        reader = _Reader(data)
        count = shape[0] * shape[1]
        blocks = [reader.numbers(kind, count).reshape(shape) for kind in _SCAN_BLOCKS.values()]
        reader.end()
        return cls(*blocks)
