"""How often the demo reaches its figures: `python -m benchmarks.first_light_pairs --pairs 60`.

Each pair is a virtual chip of the `good` preset and a draw of ten digits, independent of each other; it runs
scan, training, programming and recall through the wire, in this process. About six seconds of CPU a pair.
"""

import argparse
from collections.abc import Iterator

import structlog

from chipctl.chip import connect
from chipctl.memory.digits import load_digits
from chipctl.progress import Progress
from chipctl.studies.first_light import FirstLight, MemoryResult, run_first_light

CHIP_SEED_STEP = 37  # chip seeds that share nothing with the digits' seeds


def memories(first: int, pairs: int) -> Iterator[tuple[int, MemoryResult]]:
    """Every memory of `pairs` runs from seed `first` on."""
    digits = load_digits()
    for seed in range(first, first + pairs):
        with connect(f"sim://?preset=good&seed={CHIP_SEED_STEP * seed}") as chip:
            result = run_first_light(chip, FirstLight(seed=seed, controls=False), digits, Progress())
        for memory in result.memories:
            yield seed, memory


def main() -> None:
    """Print a line a memory, then the shares that reach their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--first", type=int, default=100, help="first seed (default: %(default)s)")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    reached: dict[str, list[bool]] = {}
    for seed, memory in memories(asked.first, asked.pairs):
        errors = [outcome.errors * 1e6 for outcome in memory.arrays.values()]
        verified = min(o.report.verified[o.planned.mask].mean() for o in memory.arrays.values())
        means = " ".join(f"{e.mean():+.2f}±{e.std():.2f}" for e in errors)
        score = memory.score
        print(
            f"{seed:5} {memory.name:9} cosine {score.mean:.4f} worst digit {score.worst_digit:.4f} "
            f"exact {score.exact}/{score.cosines.size}  verified ≥ {verified:.4f}  error µS {means}",
            flush=True,
        )
        reached.setdefault(memory.name, []).append(memory.recalls)
        reached.setdefault("programming", []).append(all(o.holds for o in memory.arrays.values()))
    for name, held in reached.items():
        print(f"{name}: {sum(held)} of {len(held)} reach their figures")


if __name__ == "__main__":
    main()
