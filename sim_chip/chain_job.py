"""A whole recall inside the microcontroller, on integers alone: the loop behind `StartChain`."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.jobs import JobState
from firmware_protocol.messages import Job, Multiply, StartChain
from firmware_protocol.plans import NO_TILE, ChainReport, LayerPlan, TilePlan, unpack_chain
from firmware_protocol.status import Fault, Status
from sim_chip.chip import VirtualChip
from sim_chip.guard import Refused, check_range, check_span
from sim_chip.readout import check_multiply, fitting_products

Ints = NDArray[np.int64]
States = NDArray[np.int8]


class ChainJob:
    """One recall: all cues at once, layer by layer, until every one is stable."""

    needs_lease = False

    def __init__(self, request: StartChain, chip: VirtualChip, staged: bytes) -> None:
        """Refused where layers do not follow each other or do not lie on the chip."""
        self._request = request
        self._chip = chip
        self._layers, cues = unpack_chain(staged, request.layers, request.cues, request.neurons)
        self._check()
        self.job_id = request.job_id
        self.array: int | None = None
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        self._states = [cues]
        self._products: list[Ints] = []
        self._running = np.ones(len(cues), bool)
        self._settled = np.zeros(len(cues), bool)
        self._iterations = np.zeros(len(cues), np.int64)
        self._clipped = (NO_TILE, NO_TILE)
        self._gains = {
            (index, number): tile.gain
            for index, layer in enumerate(self._layers)
            for number, tile in enumerate(layer.tiles)
        }
        self._done = 0

    def _check(self) -> None:
        check_range("job_id", self._request.job_id, 1, 0xFFFFFFFF)
        check_range("layers", self._request.layers, 1, 255)
        check_range("neurons", self._request.neurons, 1, 0xFFFF)
        check_range("cues", self._request.cues, 1, 0xFFFF)
        for ohms in self._ohms:
            if not 1 <= self._request.common_ohms // ohms <= 0xFFFF or self._request.common_ohms % ohms:
                raise Refused(Status.BAD_ARGUMENT, f"common_ohms is no multiple of {ohms} up to 65535 times")
        check_range("max_iterations", self._request.max_iterations, 1, 255)
        size = self._request.neurons
        for index, layer in enumerate(self._layers):
            is_last = index == len(self._layers) - 1
            levels = 2 * (2 ** self._layers[0 if is_last else index + 1].input_bits - 1)
            if layer.inputs != size or (is_last and layer.outputs != self._request.neurons):
                raise Refused(Status.BAD_ARGUMENT, f"layer {index} does not fit the one before it")
            if layer.thresholds.size and (is_last or layer.thresholds.size != levels):
                raise Refused(Status.BAD_ARGUMENT, f"layer {index}: {layer.thresholds.size} thresholds")
            for tile in layer.tiles:
                self._check_tile(layer, tile)
            size = layer.outputs

    def _check_tile(self, layer: LayerPlan, tile: TilePlan) -> None:
        check_multiply(self._product(layer, tile, tile.gain), self._chip)
        check_span("row", tile.row, tile.rows, self._chip.parameters.rows)
        check_span("col", tile.col, tile.cols, self._chip.parameters.cols)
        check_range("odd columns", tile.cols % 2, 0, 0)
        check_span("input", tile.first_input, tile.rows, layer.inputs)
        check_span("output", tile.first_output, tile.cols // 2, layer.outputs)

    @property
    def _ohms(self) -> tuple[int, ...]:
        return self._chip.parameters.converters.gain_ohms

    def _product(self, layer: LayerPlan, tile: TilePlan, gain: int) -> Multiply:
        cols, cues = self._chip.parameters.cols, self._request.cues
        return Multiply(tile.array, gain, 0, self._request.reads, layer.input_bits, 1, 0, cols, cues, 0)

    def rounds(self) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        for _ in range(self._request.max_iterations):
            if self.stop_wanted:
                self.state = JobState.STOPPED
                return
            fields = yield from self._fields()
            if fields is None:
                return
            if not self._step(fields):
                break
        if len(self._products) < len(self._states) and self._request.trace:
            yield from self._fields()
        self.state = JobState.DONE

    def _step(self, fields: Ints) -> bool:
        """Take the new states; False when no cue goes on. A tie keeps the neuron's old state."""
        old = self._states[-1]
        new = np.where(self._running[:, None] & (fields != 0), np.sign(fields), old).astype(np.int8)
        still = (new == old).all(axis=1)
        self._settled |= self._running & still
        self._iterations += self._running & ~still
        self._running &= ~still
        if not self._running.any():
            return False
        self._running &= ~np.any([(new == past).all(axis=1) for past in self._states], axis=0)
        self._states.append(new)
        return True

    def _fields(self) -> Generator[None, None, Ints | None]:
        """Biased sums of the last layer, fixed point; None where a conversion was at its end."""
        inputs = self._states[-1].astype(np.int64)
        for index, layer in enumerate(self._layers):
            sums = np.zeros((len(inputs), layer.outputs), np.int64)
            for number, tile in enumerate(layer.tiles):
                pairs = yield from self._pairs((index, number), tile, inputs)
                if pairs is None:
                    self._clipped = (index, number)
                    self.state = JobState.DONE
                    return None
                weight = self._request.common_ohms // self._ohms[self._gains[index, number]]
                sums[:, tile.first_output : tile.first_output + pairs.shape[1]] += weight * pairs
            fields = sums * layer.scale + layer.bias
            inputs = _answers(layer, fields)
        self._products.append((self._states[-1] * fields).sum(axis=1))
        return fields

    def _pairs(
        self, key: tuple[int, int], tile: TilePlan, inputs: Ints
    ) -> Generator[None, None, Ints | None]:
        """Differences of the tile's pairs of columns, sums of codes; None where one was at its end."""
        self.array = tile.array
        rows = np.zeros((len(inputs), self._chip.parameters.rows), np.int64)
        rows[:, tile.row : tile.row + tile.rows] = inputs[:, tile.first_input : tile.first_input + tile.rows]
        first = self._gains[key]
        slices = fitting_products(self._chip, self._product(self._layers[key[0]], tile, first), rows)
        while True:
            try:
                next(slices)
            except StopIteration as end:
                sums, clipped, self._gains[key] = end.value
                break
            yield
        self._done += len(inputs) * (first - self._gains[key] + 1)
        pairs = sums[:, tile.col : tile.col + tile.cols]
        return None if clipped.any() else pairs[:, 0::2] - pairs[:, 1::2]

    def abort(self, fault: Fault) -> None:
        """The job was ended from outside."""
        self.state, self.fault = JobState.ABORTED, fault

    def progress(self) -> Job:
        """How far the job is."""
        cues = len(self._running)
        settled = int(self._settled.sum())
        return Job(self.job_id, self.state, self.fault, len(self._products), cues, settled, 0, 0, self._done)

    def report(self) -> bytes:
        """The bytes that `StartChain` describes."""
        layer, tile = self._clipped
        trace = self._request.trace
        states = np.stack(self._states if trace else self._states[-1:])
        sums = np.array(self._products if trace else [], np.int64).reshape(-1, len(self._running))
        gains = tuple(self._gains.values())
        return ChainReport(self._iterations, self._settled, states, sums, gains, layer, tile).pack()


def _answers(layer: LayerPlan, fields: Ints) -> Ints:
    """What the units of a hidden layer drive the next one with."""
    if not layer.thresholds.size:
        return np.where(fields >= 0, 1, -1)
    reached = np.searchsorted(layer.thresholds, fields, side="right")
    return np.asarray(reached - layer.thresholds.size // 2, np.int64)
