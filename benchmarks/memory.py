"""What associative memories must reach: speed of training, what the rules store, recall on the chip.

With MEMORY_DIGITS=folder digits are those of its idx files.
"""

from collections.abc import Callable, Iterator

from benchmarks import memory_capacities, memory_chip, memory_training
from benchmarks.measure import Measured, Plan

PARTS: tuple[Callable[[Plan], Iterator[Measured]], ...] = (
    memory_training.measure,
    memory_capacities.measure,
    memory_chip.measure,
)


def measure(plan: Plan) -> Iterator[Measured]:
    """All parts, one after the other."""
    for part in PARTS:
        yield from part(plan)
