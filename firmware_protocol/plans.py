"""How plans and reports of chain and scan jobs lie in the buffers: both ways of each layout, once.

Integers only. Biases and thresholds of a chain are fixed-point numbers in weighted sums of codes, with
`CHAIN_FRACTION_BITS` bits after the point.
"""

import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.bulk import Flags, Ints
from firmware_protocol.wire import WireError

NO_TILE = 0xFF

_LAYER = struct.Struct("<BBHHH")
_TILE = struct.Struct("<BBBBBBHH")
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

    def signs(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
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
    """The part of a layer on one array: rows by pairs of columns."""

    array: int
    row: int
    rows: int
    col: int
    cols: int
    gain: int
    """Index to begin with; lowered where a conversion is at its end."""
    first_output: int
    first_input: int


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


def pack_chain(layers: tuple[LayerPlan, ...], cues: NDArray[np.int8]) -> bytes:
    """Layers and ±1 cues of shape (cues, neurons), staged for `StartChain`."""
    parts = []
    for layer in layers:
        sizes = (layer.outputs, layer.inputs, layer.thresholds.size)
        parts.append(_LAYER.pack(len(layer.tiles), layer.input_bits, *sizes))
        parts += [_TILE.pack(*vars(tile).values()) for tile in layer.tiles]
        parts += [
            layer.scale.astype("<u4").tobytes(),
            layer.bias.astype("<i8").tobytes(),
            layer.thresholds.astype("<i8").tobytes(),
        ]
    return b"".join(parts) + _bits(cues > 0)


def unpack_chain(
    data: bytes, layers: int, cues: int, neurons: int
) -> tuple[tuple[LayerPlan, ...], NDArray[np.int8]]:
    """The layers and the cues, shape (cues, neurons)."""
    reader, found = _Reader(data), []
    for _ in range(layers):
        count, input_bits, outputs, inputs, thresholds = reader.fields(_LAYER)
        tiles = tuple(TilePlan(*reader.fields(_TILE)) for _ in range(count))
        scale, bias = reader.numbers("<u4", outputs), reader.numbers("<i8", outputs)
        table = reader.numbers("<i8", thresholds)
        found.append(LayerPlan(input_bits, inputs, tiles, scale, bias, table))
    signs = reader.signs((cues, neurons))
    reader.end()
    return tuple(found), signs


@dataclass(frozen=True)
class ChainReport:
    """What became of every cue; a trace holds all states, else `states` holds the last ones alone."""

    iterations: Ints
    """Changes of state, shape (cues,)."""
    settled: Flags
    states: NDArray[np.int8]
    """Shape (states, cues, neurons)."""
    products: Ints
    """State times its fields, fixed point, added up over the neurons, shape (states, cues); shape
    (0, cues) without a trace."""
    gains: tuple[int, ...]
    """Index in use at the end, by layer and tile."""
    clipped_layer: int = NO_TILE
    """The tile at which a conversion was at the end of its range at the lowest gain, which ended the job."""
    clipped_tile: int = NO_TILE

    def pack(self) -> bytes:
        """The result of `OpenReport`."""
        return (
            _HEAD.pack(
                self.clipped_layer, self.clipped_tile, len(self.gains), len(self.states), len(self.products)
            )
            + bytes(self.gains)
            + self.iterations.astype("u1").tobytes()
            + _bits(self.settled)
            + _bits(self.states > 0)
            + self.products.astype("<i8").tobytes()
        )

    @classmethod
    def unpack(cls, data: bytes, cues: int, neurons: int) -> Self:
        """The report on so many cues."""
        reader = _Reader(data)
        layer, tile, tiles, states, products = reader.fields(_HEAD)
        gains = tuple(int(gain) for gain in reader.numbers("u1", tiles))
        iterations, settled = reader.numbers("u1", cues), reader.flags((cues,))
        signs = reader.signs((states, cues, neurons))
        sums = reader.numbers("<i8", products * cues).reshape(products, cues)
        reader.end()
        return cls(iterations, settled, signs, sums, gains, layer, tile)


def chain_report_bytes(cues: int, neurons: int, max_iterations: int, *, trace: bool) -> int:
    """Length of the longest report of such a chain, with room for the gains of 256 tiles."""
    states = max_iterations + 1 if trace else 1
    sums = 8 * states * cues if trace else 0
    return _HEAD.size + 256 + cues + (cues + 7) // 8 + (states * cues * neurons + 7) // 8 + sums


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
