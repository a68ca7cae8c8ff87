"""A whole recall as one job on the board: the network as integers, and what became of the cues."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip
from chipctl.converters import SPAN, Readout
from chipctl.errors import DeviceError, LinkError, MadeSafe, SaturationError
from chipctl.mapping import Placement
from chipctl.memory.learning import Layer
from firmware_protocol import plans
from firmware_protocol.messages import CHAIN_FRACTION_BITS, StartChain, State
from firmware_protocol.status import Fault, Status

Floats = NDArray[np.float64]

_POINT = 2.0**CHAIN_FRACTION_BITS

_MOST_TRIES = 4
_CALM_S = 0.05
"""Wait before the second try; doubled before each further one."""

_RESUMABLE = (Status.FAULT, Status.ABORTED, Status.CONVERTER_TIMEOUT, Status.SUPPLY_OUT_OF_RANGE)
"""Refusals of a board that went to its safe state by a fault, which may be over."""


@dataclass(frozen=True)
class Network:
    """What a chip is programmed to, and how it is to be read."""

    placement: Placement
    layers: Sequence[Layer]
    lines: Sequence[tuple[Floats, Floats]]
    """Slope and offset of each layer's outputs, as measured against what the weights should give."""
    hidden_bits: int
    """Bits of magnitude with which hidden units drive rows; 1 where they answer with their sign."""
    reads: int
    gains: dict[tuple[int, int], int]
    """TIA gain index per layer and tile, layer by layer; lowered where a column saturates."""


@dataclass(frozen=True)
class ChainRecall:
    """What became of each cue."""

    states: NDArray[np.int8]
    """Shape (iterations + 1, cues, neurons)."""
    iterations: NDArray[np.int64]
    settled: NDArray[np.bool_]
    products: Floats
    """State times field, bias included, units of span × read voltage, shape (iterations + 1, cues)."""


def run_chain(chip: Chip, network: Network, cues: NDArray[np.int8], max_iterations: int) -> ChainRecall:
    """Recall cues (cues, neurons) on the board; as many at once as its report of all states holds.

    A recall only reads: after a lost line the board's job is followed to its end, or begun again where the
    board has forgotten it; after a fault that came meanwhile, that is cleared and the recall begun again.

    Raises:
        SaturationError: A column was at the end of the ADC's range at the lowest gain.
        MadeSafe: Somebody asked for safety: the board is left so.
        LinkError: The board went away, and did not come back or did so too often.
        DeviceError: The board had a fault before, or one that stays.
    """
    most = _most_cues(chip, network, cues.shape[1], max_iterations)
    parts = [
        _run(chip, network, cues[first : first + most], max_iterations) for first in range(0, len(cues), most)
    ]
    longest = max(len(part.states) for part in parts)
    return ChainRecall(
        np.concatenate([_held(part.states, longest) for part in parts], axis=1),
        np.concatenate([part.iterations for part in parts]),
        np.concatenate([part.settled for part in parts]),
        np.concatenate([_held(part.products, longest) for part in parts], axis=1),
    )


def _held(values: NDArray[Any], length: int) -> NDArray[Any]:
    """As long as the others, the last state standing."""
    return np.concatenate([values, np.repeat(values[-1:], length - len(values), axis=0)])


def _most_cues(chip: Chip, network: Network, neurons: int, max_iterations: int) -> int:
    welcome = chip.board.welcome
    layers = len(plans.pack_chain(_plan(chip.readout, network), np.ones((0, neurons), np.int8)))
    staging = 8 * (welcome.staging_bytes - layers) // neurons
    each = plans.chain_report_bytes(8, neurons, max_iterations, trace=True)
    return max(1, min(staging, 8 * (welcome.result_bytes // each), 0xFFFF))


def _run(chip: Chip, network: Network, cues: NDArray[np.int8], max_iterations: int) -> ChainRecall:
    request = StartChain(
        job_id=secrets.randbelow(2**32 - 1) + 1,
        layers=len(network.layers),
        neurons=cues.shape[1],
        cues=len(cues),
        max_iterations=max_iterations,
        reads=network.reads,
        trace=1,
        common_ohms=_common_ohms(chip.readout),
        staged_bytes=0,
        staged_crc=0,
    )
    report = _reported(chip, request, plans.pack_chain(_plan(chip.readout, network), cues))
    network.gains.update(zip(network.gains, report.gains, strict=True))
    if report.clipped_layer != plans.NO_TILE:
        raise SaturationError(
            f"layer {report.clipped_layer}, tile {report.clipped_tile}: a column is at the end of the "
            "ADC's range at the lowest gain"
        )
    unit = _unit(chip.readout, network, len(network.layers) - 1)
    return ChainRecall(report.states, report.iterations, report.settled, (report.products / _POINT) * unit)


def _reported(chip: Chip, request: StartChain, staged: bytes) -> plans.ChainReport:
    """The job's report, in as many tries as it takes."""
    boot_id, before = chip.board.welcome.boot_id, chip.board.state()
    last: LinkError | DeviceError | None = None
    for trial in range(_MOST_TRIES):
        try:
            if last is not None:
                time.sleep(_CALM_S * 2 ** (trial - 1))
                request = _resumed(chip, request, last, (boot_id, before))
            return chip.board.chain(request, staged)
        except (LinkError, DeviceError) as error:
            if isinstance(error, DeviceError) and (before.fault or error.status not in _RESUMABLE):
                raise
            last = error
    assert last is not None
    raise last


def _resumed(
    chip: Chip, request: StartChain, last: LinkError | DeviceError, before: tuple[int, State]
) -> StartChain:
    """See that there is a session without a fault; a job that a fault ended gets another number.

    Raises:
        MadeSafe: Somebody asked for safety since.
    """
    board, (boot_id, then) = chip.board, before
    if isinstance(last, LinkError):
        board.reopen()
    now = board.state()
    if now.safes > (then.safes if board.welcome.boot_id == boot_id else 0):
        raise MadeSafe("the board was asked to be safe during the recall; it is left so")
    if now.fault and now.fault not in (then.fault, Fault.INTERNAL):
        board.clear_fault(now.fault)
    if isinstance(last, LinkError):
        return request
    return replace(request, job_id=secrets.randbelow(2**32 - 1) + 1)


def _plan(readout: Readout, network: Network) -> tuple[plans.LayerPlan, ...]:
    return tuple(_layer_plan(readout, network, index) for index in range(len(network.layers)))


def _layer_plan(readout: Readout, network: Network, index: int) -> plans.LayerPlan:
    layer = network.layers[index]
    per_unit = _POINT / _unit(readout, network, index)
    tiles = tuple(
        plans.TilePlan(
            tile.array,
            tile.region.row,
            tile.region.rows,
            tile.region.col,
            tile.region.cols,
            network.gains[index, number],
            tile.first_output,
            tile.first_input,
        )
        for number, tile in enumerate(network.placement.layers[index])
    )
    is_last = index == len(network.layers) - 1
    edges = np.zeros(0) if is_last or network.hidden_bits == 1 else _tanh_edges(layer, network.hidden_bits)
    _, inputs = network.placement.shape(index)
    slope, offset = network.lines[index]
    scale = np.rint(_POINT / slope).astype(np.int64)
    bias = np.rint((layer.bias - offset / slope) * per_unit).astype(np.int64)
    thresholds = np.ceil(edges * per_unit).astype(np.int64)
    return plans.LayerPlan(_bits(network, index), inputs, tiles, scale, bias, thresholds)


def _bits(network: Network, index: int) -> int:
    return 1 if index == 0 else network.hidden_bits


def _tanh_edges(layer: Layer, bits: int) -> Floats:
    """Fields at which the answer, rounded to `bits` bits of magnitude, goes one step up."""
    levels = 2**bits - 1
    return np.asarray(np.arctanh((np.arange(-levels + 1, levels + 1) - 0.5) / levels) / float(layer.gain))


def _common_ohms(readout: Readout) -> int:
    """The transimpedance of which every one of the chip is a whole part."""
    return lcm(*(int(ohms) for ohms in readout.gain_ohms))


def _unit(readout: Readout, network: Network, index: int) -> float:
    """Field, units of span × read voltage, of one weighted code of a layer."""
    volts: float = (readout.adc_max_volts - readout.adc_min_volts) / readout.full_scale
    sums = network.reads * (2 ** _bits(network, index) - 1)
    return float(volts / _common_ohms(readout) / sums / (SPAN * readout.read_volts))
