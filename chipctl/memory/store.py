"""Store patterns on a chip, recall them, keep the memory in a file, and find it again on its chip."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.chip import Chip
from chipctl.errors import ChipctlError, ProtocolError
from chipctl.faults import check_scan, scan
from chipctl.files import replace_file
from chipctl.mapping import Placement, Tile, pair_ranges
from chipctl.memory.associative import AssociativeMemory, Correction, States
from chipctl.memory.learning import Box, Hidden, Layer, train
from chipctl.memory.storing import Storing, as_patterns
from chipctl.memory.writing import Writer
from chipctl.planner import Plan, plan
from chipctl.profile import FaultMap
from chipctl.progress import Progress
from chipctl.schedules import PulseSchedule
from chipctl.write_plan import check_schedule

__all__ = ["LEAST_LIKENESS", "Memory", "StoredMemory", "Storing", "boxes", "fault_maps", "restore", "store"]

LEAST_LIKENESS = 0.8
"""Correlation of read-back and stored weights below which the chip holds something else."""


@dataclass(repr=False)
class Memory(AssociativeMemory):
    """Patterns on a chip, as `store` or `restore` gives it.

    It is refused (`ChipctlError`) once its arrays were pulsed by anything else, another `store` say: the
    board counts pulses, whoever asked for them.
    """

    plan: Plan | None = None
    """Where the layers were put, and what it spared; None if restored."""
    writer: Writer | None = None
    """What programming came to, by array: `writer.last`; nothing if restored."""

    def check_there(self) -> None:
        """Refuse to go on where the arrays were pulsed since they were programmed: one look at a count.

        Raises:
            ChipctlError: They were: what they hold is not known.
        """
        if self.writer is not None:
            self.writer.check_there()

    def find(self) -> None:
        """Read the arrays once: if they still hold this memory, it can be recalled, whoever pulsed them.

        Raises:
            ChipctlError: They hold something else.
        """
        likeness = np.nan_to_num([self._likeness(load) for load in range(self.placement.loads)])
        held = int(likeness.argmax())
        if likeness[held] < LEAST_LIKENESS:
            raise ChipctlError(
                "this memory is not on the chip any more: the weights read back correlate "
                f"{likeness[held]:.2f} with it; store it again"
            )
        if self.writer is not None:
            self.writer.found(held)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `restore` needs to an npz file, whole or not at all."""
        if self.patterns is None:
            raise ValueError("a memory is kept with its patterns: give them to it as `patterns`")
        StoredMemory(
            self.chip.profile.serial,
            self.placement,
            tuple(self.layers),
            self.hidden,
            self.patterns,
            tuple(self.corrections),
            self.outputs,
        ).save(path)


def store(
    chip: Chip, patterns: ArrayLike, how: Storing | None = None, progress: Progress | None = None
) -> Memory:
    """Store patterns on a chip: scan it if need be, train around its faults, place, program, calibrate.

    Changes every device of the arrays, stuck ones apart; whatever memory was there is gone, and says so.

    Args:
        chip: The chip.
        patterns: Shape (patterns, neurons): ±1, or continuous in [-1, 1], which are recalled by tanh.
        how: Hidden layers, rule, schedules, seed.
        progress: Who is told how far it is.

    Raises:
        ValueError: Patterns of another shape or values, a rule that does not take them, or a policy outside
            the board's limits; nothing was pulsed.
        ProgrammingError: Somebody asked for safety, or the board latched a fault too often.
    """
    how, progress = how or Storing(), progress or Progress()
    if not isinstance(how, Storing):
        raise ValueError(f"how patterns are stored is said by a Storing(…), not by {how!r}")
    given = as_patterns(patterns)
    rule = how.rule_for(given)
    check_schedule(chip, how.schedule)
    faults = fault_maps(chip, how, progress)
    sizes = (given.shape[1], *how.hidden, given.shape[1])
    where = plan(sizes, faults, spread=how.spread)
    with progress.stage(f"train {'-'.join(map(str, sizes))}", 0):
        layers = train(given, sizes, _boxes(where.placement, faults, how), rule).layers
    writer = Writer(chip, where.placement, layers, faults, how.schedule, progress)
    writer(0)
    is_binary = given.dtype == np.int8
    memory = Memory(
        chip,
        where.placement,
        layers,
        how.units if is_binary else "tanh",
        "sign" if is_binary else "tanh",
        how.reads,
        patterns=given,
        bring=writer if where.placement.loads > 1 else None,
        plan=where,
        writer=writer,
    )
    if how.rehearsals:
        memory.calibrate(how.rehearsal(given))
    return memory


def fault_maps(chip: Chip, how: Storing, progress: Progress) -> dict[int, FaultMap]:
    """The map of every array; those that are not known are scanned, which changes their devices.

    Raises:
        ValueError: A scan that is needed is outside the board's limits; nothing was pulsed.
    """
    wanted = [
        array for array in range(chip.arrays) if chip.profile.arrays[array].scanned is None or how.rescan
    ]
    if wanted:
        check_scan(chip, how.scan)
    for array in wanted:
        with progress.stage(f"scan array {array}", 2 * len(how.scan.set_volts)) as tell:
            chip.measure_zero(array)
            scan(chip, array, how.scan, lambda p: tell(p.step), on_board=chip.board.runs_jobs)
    return {array: chip.profile.fault_map(array) for array in range(chip.arrays)}


def _boxes(placement: Placement, faults: Mapping[int, FaultMap], how: Storing) -> list[Box]:
    found = boxes(placement, faults)
    return found if how.hidden or how.self_connection else [box.without_self() for box in found]


def boxes(placement: Placement, faults: Mapping[int, FaultMap]) -> list[Box]:
    """What the pairs of each layer can hold, as training takes it."""
    return [
        Box.from_pairs(ranges.plus_low, ranges.plus_high, ranges.minus_low, ranges.minus_high)
        for ranges in pair_ranges(placement, faults)
    ]


def restore(chip: Chip, path: str | os.PathLike[str], schedule: PulseSchedule | None = None) -> Memory:
    """The memory of a file on the chip that was programmed with it.

    Reads the arrays in use once. A memory of several loads will program them again, by `schedule`.

    Raises:
        ValueError: The file is no stored memory.
        ProtocolError: It was programmed on another chip.
        ChipctlError: The arrays hold something else by now.
    """
    stored = StoredMemory.load(path)
    if chip.profile.serial != stored.serial:
        raise ProtocolError(
            f"{path} was programmed on chip {stored.serial}, this one is {chip.profile.serial}"
        )
    memory = stored.on(chip, schedule)
    try:
        memory.find()
    except ChipctlError as error:
        raise ChipctlError(f"{path}: {error}") from None
    return memory


@dataclass(frozen=True)
class StoredMemory:
    """What must be kept to use a programmed chip as a memory again."""

    serial: str
    """Of the chip that was programmed."""
    placement: Placement
    layers: tuple[Layer, ...]
    hidden: Hidden
    patterns: States
    """Stored patterns, shape (patterns, neurons)."""
    corrections: tuple[Correction, ...] = ()
    """What calibration found of each layer after programming."""
    outputs: Hidden = "sign"

    def on(self, chip: Chip, schedule: PulseSchedule | None = None) -> Memory:
        """The memory on the chip that was programmed with it, not yet looked for."""
        faults = {array: chip.profile.fault_map(array) for array in range(chip.arrays)}
        writer = Writer(chip, self.placement, self.layers, faults, schedule or PulseSchedule())
        return Memory(
            chip,
            self.placement,
            self.layers,
            self.hidden,
            self.outputs,
            corrections=list(self.corrections),
            patterns=self.patterns,
            bring=writer if self.placement.loads > 1 else None,
            writer=writer,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an npz file, whole or not at all."""
        arrays: dict[str, NDArray[np.generic]] = {
            "serial": np.array(self.serial),
            "sizes": np.array(self.placement.sizes),
            "hidden": np.array(self.hidden),
            "outputs": np.array(self.outputs),
            "patterns": self.patterns,
        }
        tiles = [(index, tile) for index, tiles in enumerate(self.placement.layers) for tile in tiles]
        for number, (index, tile) in enumerate(tiles):
            head = index, tile.array, tile.first_output, tile.first_input, tile.load
            arrays |= {f"tile{number}": np.array(head)}
            arrays |= {f"rows{number}": np.array(tile.rows), f"pairs{number}": np.array(tile.pairs)}
        for index, layer in enumerate(self.layers):
            arrays |= {f"weights{index}": layer.weights, f"bias{index}": layer.bias}
            arrays[f"gain{index}"] = np.asarray(layer.gain)
        for index, correction in enumerate(self.corrections):
            arrays |= {f"slope{index}": correction.slope, f"offset{index}": correction.offset}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        replace_file(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: The file is no stored memory.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls._from(dict(data))
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, IndexError, BadZipFile):
            raise ValueError(f"{path} is no stored memory; `chipctl demo` writes one into its run") from None

    @classmethod
    def _from(cls, data: dict[str, NDArray[np.generic]]) -> Self:
        sizes = tuple(int(size) for size in data["sizes"])
        numbers = range(len(sizes) - 1)
        layers = tuple(
            Layer(*(data[f"{name}{index}"].astype(np.float32) for name in ("weights", "bias", "gain")))
            for index in numbers
        )
        corrections = tuple(
            Correction(data[f"slope{index}"].astype(float), data[f"offset{index}"].astype(float))
            for index in numbers
            if f"slope{index}" in data
        )
        hidden, outputs = (_units(data[name]) for name in ("hidden", "outputs"))
        patterns = _as_kept(data["patterns"], is_binary=outputs == "sign")
        placement = Placement(sizes, _tiles(data, len(sizes) - 1))
        return cls(str(data["serial"]), placement, layers, hidden, patterns, corrections, outputs)


def _as_kept(patterns: NDArray[np.generic], *, is_binary: bool) -> States:
    return patterns.astype(np.int8) if is_binary else patterns.astype(np.float32)


def _units(kept: NDArray[np.generic]) -> Hidden:
    return "tanh" if str(kept) == "tanh" else "sign"


def _tiles(data: dict[str, NDArray[np.generic]], layers: int) -> tuple[tuple[Tile, ...], ...]:
    tiles: list[list[Tile]] = [[] for _ in range(layers)]
    for number in range(sum(name.startswith("tile") for name in data)):
        index, array, output, first, load = data[f"tile{number}"].tolist()
        rows, pairs = (tuple(data[f"{name}{number}"].tolist()) for name in ("rows", "pairs"))
        tiles[index].append(Tile(array, rows, pairs, output, first, load))
    return tuple(tuple(of_layer) for of_layer in tiles)
