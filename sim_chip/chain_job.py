"""A whole recall inside the microcontroller: the job behind `StartChain`."""

from collections.abc import Generator

import numpy as np

from firmware_protocol.chain import Chain, Made, Wanted
from firmware_protocol.jobs import JobState
from firmware_protocol.messages import Job, Multiply, StartChain
from firmware_protocol.plans import ChainPlan, LayerPlan, TilePlan
from firmware_protocol.status import Fault, Status
from sim_chip.chip import VirtualChip
from sim_chip.guard import Refused, check_range, check_span
from sim_chip.readout import check_multiply, fitting_products

MOST_STATE_BITS = 7
"""What an i8 holds beside its sign."""


class ChainJob:
    """One recall: all cues at once, until every one is stable; the loop itself is `Chain`."""

    needs_lease = False

    def __init__(self, request: StartChain, chip: VirtualChip, staged: bytes) -> None:
        """Refused where layers do not follow each other or do not lie on the chip."""
        self._request, self._chip = request, chip
        self._plan = ChainPlan.unpack(staged, request, (chip.parameters.rows, chip.parameters.cols))
        self._check()
        self._chain = Chain(request, self._plan, self._ohms)
        self.job_id = request.job_id
        self.array: int | None = None
        self.state = JobState.RUNNING
        self.fault = Fault.NONE
        self.stop_wanted = False
        self._done = 0

    def _check(self) -> None:
        request, plan = self._request, self._plan
        check_range("job_id", request.job_id, 1, 0xFFFFFFFF)
        check_range("layers", request.layers, 1, 255)
        check_range("neurons", request.neurons, 1, 0xFFFF)
        check_range("cues", request.cues, 1, 0xFFFF)
        check_range("state_bits", request.state_bits, 1, MOST_STATE_BITS)
        check_range("still", request.still, 0, 0 if request.state_bits == 1 else 2**request.state_bits - 1)
        for ohms in self._ohms:
            if not 1 <= request.common_ohms // ohms <= 0xFFFF or request.common_ohms % ohms:
                raise Refused(Status.BAD_ARGUMENT, f"common_ohms is no multiple of {ohms} up to 65535 times")
        check_range("max_iterations", request.max_iterations, 1, 255)
        if plan.order.size:
            check_range("neuron to update", int(plan.order.max()), 0, request.neurons - 1)
        if np.abs(plan.cues.astype(int)).max() > 2**request.state_bits - 1:
            raise Refused(Status.BAD_ARGUMENT, f"a cue is of more than {request.state_bits} bits")
        self._check_layers()

    def _check_layers(self) -> None:
        layers, size = self._plan.layers, self._request.neurons
        for index, layer in enumerate(layers):
            is_last = index == len(layers) - 1
            bits = self._request.state_bits if is_last else layers[index + 1].input_bits
            levels = 2 * (2**bits - 1)
            takes = (levels if bits > 1 else 0,) if is_last else (0, levels)
            if layer.inputs != size or (is_last and layer.outputs != self._request.neurons):
                raise Refused(Status.BAD_ARGUMENT, f"layer {index} does not fit the one before it")
            if layer.thresholds.size not in takes:
                raise Refused(Status.BAD_ARGUMENT, f"layer {index}: {layer.thresholds.size} thresholds")
            for tile in layer.tiles:
                self._check_tile(layer, tile)
            size = layer.outputs
        if layers[0].input_bits != self._request.state_bits:
            raise Refused(Status.BAD_ARGUMENT, f"layer 0 takes inputs of {layers[0].input_bits} bits")

    def _check_tile(self, layer: LayerPlan, tile: TilePlan) -> None:
        if not tile.rows or not tile.pairs:
            raise Refused(Status.BAD_ARGUMENT, "a tile without rows or columns")
        cols = self._chip.parameters.cols
        check_multiply(self._product(layer.input_bits, tile, (tile.gain, 0, cols)), self._chip)
        check_span("input", tile.first_input, len(tile.rows), layer.inputs)
        check_span("output", tile.first_output, len(tile.pairs), layer.outputs)

    @property
    def _ohms(self) -> tuple[int, ...]:
        return self._chip.parameters.converters.gain_ohms

    def _product(
        self, input_bits: int, tile: TilePlan, of: tuple[int, int, int], vectors: int = 1
    ) -> Multiply:
        """A product of a tile: gain to begin with, first column and number of columns."""
        gain, col, count = of
        return Multiply(tile.array, gain, 0, self._request.reads, input_bits, 1, col, count, vectors, 0)

    def rounds(self) -> Generator[None]:
        """Run the job in slices; when the generator ends, the job has."""
        products = self._chain.run()
        made: Made | None = None
        while True:
            try:
                wanted = next(products) if made is None else products.send(made)
            except StopIteration:
                self.state = JobState.DONE
                return
            if self.stop_wanted:
                self.state = JobState.STOPPED
                return
            made = yield from self._made(wanted)

    def _made(self, wanted: Wanted) -> Generator[None, None, Made]:
        self.array = wanted.plan.array
        request = self._product(
            wanted.input_bits,
            wanted.plan,
            (wanted.gain, wanted.col, wanted.col_count),
            len(wanted.inputs),
        )
        slices = fitting_products(self._chip, request, wanted.driven(self._chip.parameters.rows))
        while True:
            try:
                next(slices)
            except StopIteration as end:
                sums, clipped, gain = end.value
                break
            yield
        self._done += len(sums) * (wanted.gain - gain + 1)
        return Made(sums, np.full(len(sums), gain), bool(clipped.any()))

    def abort(self, fault: Fault) -> None:
        """The job was ended from outside."""
        self.state, self.fault = JobState.ABORTED, fault

    def progress(self) -> Job:
        """How far the job is."""
        cues, settled = self._request.cues, self._chain.settled
        return Job(self.job_id, self.state, self.fault, self._chain.looks, cues, settled, 0, 0, self._done)

    def report(self) -> bytes:
        """The bytes that `StartChain` describes."""
        return self._chain.report().pack(self._request.state_bits)
