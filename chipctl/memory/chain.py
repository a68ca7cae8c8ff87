"""A whole recall on integers: as one job on the board, or with each product asked for from here."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
from firmware_protocol.bulk import inputs_bytes, products_bytes
from firmware_protocol.chain import Chain, Made
from firmware_protocol.messages import CHAIN_FRACTION_BITS, Multiply, StartChain, State
from firmware_protocol.status import Fault, Status

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_POINT = 2.0**CHAIN_FRACTION_BITS

MOST_ITERATIONS = 255
MOST_UPDATES = 0xFFFF
"""Of single neurons: what a request has room for."""

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
    state_bits: int
    """Bits of magnitude of a neuron's state; 1 for signs, more for tanh."""
    hidden_bits: int
    """The same of hidden units."""
    reads: int
    gains: dict[tuple[int, int], int]
    """TIA gain index per layer and tile, layer by layer; lowered where a column saturates."""

    @property
    def levels(self) -> int:
        """Steps of a state of 1."""
        return int(2**self.state_bits - 1)

    def bits(self, index: int) -> int:
        """Bits of magnitude of a layer's inputs."""
        return self.state_bits if index == 0 else self.hidden_bits


@dataclass(frozen=True)
class Task:
    """What is to be recalled, and how.

    Raises ValueError for more iterations than a request has room for.
    """

    cues: NDArray[np.generic]
    """Shape (cues, neurons), ±1 or [-1, 1]."""
    max_iterations: int
    order: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Neuron of each update; empty where all are updated at a time."""
    still: float = 0.0
    """Change of a neuron that counts as none."""

    def __post_init__(self) -> None:
        most = self.max_iterations
        if not isinstance(most, int | np.integer) or not 1 <= most <= MOST_ITERATIONS:
            raise ValueError(f"a recall takes 1 to {MOST_ITERATIONS} iterations, not {most}")
        if self.order.size > MOST_UPDATES:
            raise ValueError(
                f"a recall takes {MOST_UPDATES} updates of a neuron, not {self.order.size}: fewer iterations"
            )


@dataclass(frozen=True)
class ChainRecall:
    """What became of each cue."""

    states: NDArray[np.generic]
    """Shape (iterations + 1, cues, neurons); int8 ±1, or float32."""
    iterations: Ints
    """Changes of state; number of the last update that changed it where neurons are updated one by one."""
    periods: Ints
    """1 at a fixed point, the length of the cycle a cue is in, or 0 where neither was reached."""
    products: Floats
    """State times field, bias included, units of span × read voltage, shape (iterations + 1, cues); shape
    (0, cues) where neurons are updated one by one."""


def run_chain(
    chip: Chip, network: Network, task: Task, bring: Callable[[int], None] | None = None
) -> ChainRecall:
    """Recall on the board; as many cues at once as its report of all states holds.

    With `bring` every product is asked for from here instead, after `bring(load)` has seen that the
    arrays hold what it needs. The states are the same on the same noise: so are the groups of cues.

    A recall only reads: after a lost line the board's job is followed to its end, or begun again where the
    board has forgotten it; after a fault that came meanwhile, that is cleared and the recall begun again.

    Raises:
        SaturationError: A column was at the end of the ADC's range at the lowest gain.
        MadeSafe: Somebody asked for safety: the board is left so.
        LinkError: The board went away, and did not come back or did so too often.
        DeviceError: The board had a fault before, or one that stays.
    """
    most = len(task.cues) if network.placement.loads > 1 else _most_cues(chip, network, task)
    parts = [
        _run(chip, network, replace(task, cues=task.cues[first : first + most]), bring)
        for first in range(0, len(task.cues), most)
    ]
    longest = max(len(part.states) for part in parts)
    sums = max(len(part.products) for part in parts)
    return ChainRecall(
        np.concatenate([_held(part.states, longest) for part in parts], axis=1),
        np.concatenate([part.iterations for part in parts]),
        np.concatenate([part.periods for part in parts]),
        np.concatenate([_held(part.products, sums) for part in parts], axis=1),
    )


def _held(values: NDArray[Any], length: int) -> NDArray[Any]:
    """As long as the others, the last state standing."""
    return np.concatenate([values, np.repeat(values[-1:], length - len(values), axis=0)])


def _most_cues(chip: Chip, network: Network, task: Task) -> int:
    """Cues that fit both the buffers for a job on the board and those for single products."""
    welcome, shape = chip.board.welcome, (chip.rows, chip.cols)
    none, some = (
        replace(task, cues=task.cues[:0]),
        replace(task, cues=np.resize(task.cues, (8, task.cues.shape[1]))),
    )
    empty, eight = (len(_staged(chip, network, which, shape)) for which in (none, some))
    staging = 8 * ((welcome.staging_bytes - empty) // (eight - empty))
    request = _request(chip, network, some)
    reports = (
        plans.chain_report_bytes(replace(request, cues=cues), task.max_iterations, trace=True)
        for cues in (0, 8)
    )
    nothing, each = reports
    result = 8 * ((welcome.result_bytes - nothing) // (each - nothing))
    bits = max(network.state_bits, network.hidden_bits)
    one = Multiply(0, 0, 0, network.reads, bits, 1, 0, chip.cols, 1, 0)
    products = (
        welcome.staging_bytes // inputs_bytes(one, chip.rows),
        welcome.result_bytes // products_bytes(one),
    )
    return max(1, min(staging, result, *products, 0xFFFF))


def _staged(chip: Chip, network: Network, task: Task, shape: tuple[int, int]) -> bytes:
    return _plan(chip.readout, network, task).pack(shape, network.state_bits)


def _request(chip: Chip, network: Network, task: Task) -> StartChain:
    return StartChain(
        job_id=secrets.randbelow(2**32 - 1) + 1,
        layers=len(network.layers),
        neurons=task.cues.shape[1],
        cues=len(task.cues),
        max_iterations=task.max_iterations,
        updates=task.order.size,
        state_bits=network.state_bits,
        still=int(task.still * network.levels),
        reads=network.reads,
        trace=1,
        common_ohms=_common_ohms(chip.readout),
        staged_bytes=0,
        staged_crc=0,
    )


def _run(chip: Chip, network: Network, task: Task, bring: Callable[[int], None] | None) -> ChainRecall:
    request, plan = _request(chip, network, task), _plan(chip.readout, network, task)
    if bring is None:
        report = _reported(chip, request, plan.pack((chip.rows, chip.cols), network.state_bits))
    else:
        report = _driven(chip, request, plan, lambda layer, n: bring(network.placement.layers[layer][n].load))
    network.gains.update(zip(network.gains, report.gains, strict=True))
    if report.clipped_layer != plans.NO_TILE:
        raise SaturationError(
            f"layer {report.clipped_layer}, tile {report.clipped_tile}: a column is at the end of the "
            "ADC's range at the lowest gain"
        )
    unit = _unit(chip.readout, network, len(network.layers) - 1) / network.levels
    states = report.states.astype(np.int8)
    if network.levels > 1:
        states = (states / np.float32(network.levels)).astype(np.float32)
    return ChainRecall(states, report.changes, report.periods, (report.products / _POINT) * unit)


def _driven(
    chip: Chip, request: StartChain, plan: plans.ChainPlan, see_to: Callable[[int, int], None]
) -> plans.ChainReport:
    """The report of a chain whose products are asked for one by one."""
    chain = Chain(request, plan, [int(ohms) for ohms in chip.readout.gain_ohms])
    products = chain.run()
    wanted = next(products, None)
    while wanted is not None:
        see_to(wanted.layer, wanted.tile)
        at = wanted.col, wanted.col_count
        asked = Multiply(wanted.plan.array, wanted.gain, 0, request.reads, wanted.input_bits, 1, *at, 0, 0)
        sums, clipped, gains = chip.board.multiply(asked, wanted.driven(chip.rows))
        try:
            wanted = products.send(Made(sums, gains, bool(clipped.any())))
        except StopIteration:
            wanted = None
    return chain.report()


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


def _plan(readout: Readout, network: Network, task: Task) -> plans.ChainPlan:
    layers = tuple(_layer_plan(readout, network, index) for index in range(len(network.layers)))
    steps = np.rint(np.asarray(task.cues, np.float64) * network.levels).astype(np.int8)
    return plans.ChainPlan(layers, task.order, steps)


def _layer_plan(readout: Readout, network: Network, index: int) -> plans.LayerPlan:
    layer = network.layers[index]
    per_unit = _POINT / _unit(readout, network, index)
    tiles = tuple(
        plans.TilePlan(
            tile.array,
            network.gains[index, number],
            tile.first_output,
            tile.first_input,
            tile.rows,
            tile.pairs,
        )
        for number, tile in enumerate(network.placement.layers[index])
    )
    is_last = index == len(network.layers) - 1
    bits = network.state_bits if is_last else network.hidden_bits
    edges = np.zeros(0) if bits == 1 else _tanh_edges(layer, bits)
    _, inputs = network.placement.shape(index)
    slope, offset = network.lines[index]
    scale = np.rint(_POINT / slope).astype(np.int64)
    bias = np.rint((layer.bias - offset / slope) * per_unit).astype(np.int64)
    thresholds = np.ceil(edges * per_unit).astype(np.int64)
    return plans.LayerPlan(network.bits(index), inputs, tiles, scale, bias, thresholds)


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
    sums = network.reads * (2 ** network.bits(index) - 1)
    return float(volts / _common_ohms(readout) / sums / (SPAN * readout.read_volts))
