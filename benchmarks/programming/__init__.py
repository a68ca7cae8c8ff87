"""Programming, fault maps, calibration and twins: what each promises, against its bounds.

Each module named in `PARTS` measures one subject: its `measure(plan)` yields one `Measured` after the other,
with names that no other part has (pages and records find a line by its name). To add a part, put a module
into this package, name it in `PARTS`, and give each of its lines a row in `docs/programming-measured.md`.
All parts together take at most ten minutes of two cores at `Scale.QUICK`; fixed seeds unless `plan.seed`
names the first of fresh ones.
"""

from collections.abc import Iterator
from importlib import import_module

from benchmarks.measure import Measured, Plan

PARTS = ("schedules", "costs", "resumed", "faults", "products", "twins")


def measure(plan: Plan) -> Iterator[Measured]:
    """Every line of every part."""
    for part in PARTS:
        yield from import_module(f"benchmarks.programming.{part}").measure(plan)
