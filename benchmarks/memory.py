"""What associative memories must reach: speed of training, and what the rules store."""

from collections.abc import Callable, Iterator

from benchmarks import memory_capacities, memory_training
from benchmarks.measure import Measured, Plan

PARTS: tuple[Callable[[Plan], Iterator[Measured]], ...] = (memory_training.measure, memory_capacities.measure)


def measure(plan: Plan) -> Iterator[Measured]:
    """All parts, one after the other."""
    for part in PARTS:
        yield from part(plan)
