"""The float figures of the memory in full: `python -m benchmarks.memory_figures 3j faults --out a.jsonl`.

Every answer is appended to the file as soon as it is there; run again, it goes on where it was ended.
Prints one line per series and place: mean, standard deviation over seeds, values.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")

from chipctl.memory.answers import Answers, measure
from chipctl.memory.sweeps import FIGURES, Point, rows


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="+", choices=FIGURES, help="as numbered by He et al., or faults")
    parser.add_argument("--out", type=Path, required=True, help="file of answers, JSON lines")
    parser.add_argument("--seeds", type=int, help="instead of each figure's own")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    known = Answers(asked.out)
    with ProcessPoolExecutor(asked.workers) if asked.workers > 1 else nullcontext() as pool:

        def spread(function, points: list[Point]):
            if pool is None:
                return map(function, points)
            return (
                done.result() for done in as_completed([pool.submit(function, point) for point in points])
            )

        for name in asked.figures:
            points = FIGURES[name](*([range(asked.seeds)] if asked.seeds else []))
            for row in rows(measure(points, known, spread)):
                values = " ".join(f"{value:g}" for value in row.values)
                found = f"{row.mean:10.4g} ± {row.spread:<8.3g}{values}"
                print(f"{row.figure:7}{row.series:36}{row.at:10.4g}{found}", flush=True)


if __name__ == "__main__":
    main()
