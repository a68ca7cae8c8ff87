"""A trained memory in a file: its layers, where they lie on which chip, and the patterns it keeps."""

import io
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from chipctl.board import Region
from chipctl.chip import Chip
from chipctl.files import replace_file
from chipctl.mapping import Placement, Tile
from chipctl.memory.associative import AssociativeMemory, Correction
from chipctl.memory.learning import Hidden, Layer


@dataclass(frozen=True)
class StoredMemory:
    """What must be kept to use a programmed chip as a memory again."""

    serial: str
    """Of the chip that was programmed."""
    placement: Placement
    layers: tuple[Layer, ...]
    hidden: Hidden
    patterns: NDArray[np.int8]
    """Stored patterns, shape (patterns, neurons) of ±1."""
    corrections: tuple[Correction, ...] = ()
    """What calibration found of each layer after programming."""

    def on(self, chip: Chip) -> AssociativeMemory:
        """The network on the chip that was programmed with it."""
        return AssociativeMemory(
            chip, self.placement, self.layers, self.hidden, corrections=list(self.corrections)
        )

    def save(self, path: Path) -> None:
        """Write to an npz file, whole or not at all."""
        tiles = [
            (index, tile.array, *astuple(tile.region), tile.first_output, tile.first_input)
            for index, tiles in enumerate(self.placement.layers)
            for tile in tiles
        ]
        arrays: dict[str, NDArray[np.generic]] = {
            "serial": np.array(self.serial),
            "sizes": np.array(self.placement.sizes),
            "tiles": np.array(tiles),
            "hidden": np.array(self.hidden),
            "patterns": self.patterns,
        }
        for index, layer in enumerate(self.layers):
            arrays |= {f"weights{index}": layer.weights, f"bias{index}": layer.bias}
            arrays[f"gain{index}"] = np.asarray(layer.gain)
        for index, correction in enumerate(self.corrections):
            arrays |= {f"slope{index}": correction.slope, f"offset{index}": correction.offset}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        replace_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: The file is no stored memory.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls._from(dict(data))
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, BadZipFile):
            raise ValueError(f"{path} is no stored memory; `chipctl demo` writes one into its run") from None

    @classmethod
    def _from(cls, data: dict[str, NDArray[np.generic]]) -> Self:
        sizes = tuple(int(size) for size in data["sizes"])
        tiles: list[list[Tile]] = [[] for _ in sizes[1:]]
        for index, array, row, rows, col, cols, output, first in data["tiles"].tolist():
            tiles[index].append(Tile(array, Region(row, rows, col, cols), output, first))
        layers = tuple(
            Layer(
                data[f"weights{index}"].astype(np.float32),
                data[f"bias{index}"].astype(np.float32),
                data[f"gain{index}"].astype(np.float32),
            )
            for index in range(len(sizes) - 1)
        )
        hidden: Hidden = "tanh" if str(data["hidden"]) == "tanh" else "sign"
        placement = Placement(sizes, tuple(tuple(of_layer) for of_layer in tiles))
        corrections = tuple(
            Correction(data[f"slope{index}"].astype(float), data[f"offset{index}"].astype(float))
            for index in range(len(layers))
            if f"slope{index}" in data
        )
        patterns = data["patterns"].astype(np.int8)
        return cls(str(data["serial"]), placement, layers, hidden, patterns, corrections)
