"""Killed programming gone on with: what the chip's own counters say of the journal."""

from collections.abc import Iterator

from benchmarks.measure import Measured, Plan, Scale
from benchmarks.prove_resume import KILLS, lines

QUICK_KILLS = 9
"""One of each victim in each way of programming."""


def measure(plan: Plan) -> Iterator[Measured]:
    """`kill -9` of host, board and both at random instants, then `chipctl resume`."""
    yield from lines(KILLS if plan.scale is Scale.FULL else QUICK_KILLS, plan.seed or 0)
