"""What programming one array costs, by schedule and kind of chip, in the board and from the host."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from time import process_time

from benchmarks.measure import ANY, Measured, Plan, Scale
from benchmarks.programming.bench import ARRAY, prepared, seeds_of, served, uniform
from chipctl.programming import program
from chipctl.schedules import named

CASES = (
    ("good", "paper", False),
    ("good", "fast", False),
    ("good", "fine", False),
    ("good", "paper", True),
    ("good", "fast", True),
    ("poor", "paper", False),
    ("poor", "fast", False),
    ("10 % faults", "paper", False),
    ("10 % faults", "fast", False),
)
"""Kind of chip, schedule, whether the host decides on every pulse."""

CHIPS = {Scale.QUICK: 1, Scale.FULL: 5}


@dataclass(frozen=True)
class Cost:
    """Of one array programmed to a uniform map, its stuck devices left out."""

    pulses: float
    reads: float
    wire_bytes: float
    chip_seconds: float
    chip_joules: float
    host_seconds: float


_QUANTITIES = (
    ("pulses a device", "", 1.0),
    ("reads a device", "", 1.0),
    ("wire", "kB", 1e-3),
    ("simulated chip time", "s", 1.0),
    ("chip energy", "µJ", 1e6),
    ("host CPU", "ms", 1e3),
)


def measure(plan: Plan) -> Iterator[Measured]:
    """Every quantity of every case."""
    seeds = seeds_of(plan, CHIPS[plan.scale])
    for kind, schedule, on_host in CASES:
        costs = [astuple(_cost(kind, seed, schedule, on_host)) for seed in seeds]
        place = " from the host" if on_host else ""
        for (quantity, unit, factor), values in zip(_QUANTITIES, zip(*costs, strict=True), strict=True):
            name = f"{kind}, {schedule}{place}: {quantity}"
            yield Measured(name, unit, ANY, tuple(factor * value for value in values))


def _cost(kind: str, seed: int, schedule: str, on_host: bool) -> Cost:
    target = uniform(seed)
    with served(kind, seed) as chip:
        mask = prepared(chip)
        book, wire, start = chip.book(), chip.board.link_statistics(), process_time()
        report = program(chip, ARRAY, target, mask=mask, schedule=named(schedule), on_host=on_host)
        taken, after, later = process_time() - start, chip.board.link_statistics(), chip.book()
    return Cost(
        pulses=float(report.pulses[mask].mean()),
        reads=report.reads / report.devices,
        wire_bytes=after.bytes_out + after.bytes_in - wire.bytes_out - wire.bytes_in,
        chip_seconds=later.seconds - book.seconds,
        chip_joules=later.chip_joules - book.chip_joules,
        host_seconds=taken,
    )
