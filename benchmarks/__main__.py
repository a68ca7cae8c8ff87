"""`python -m benchmarks chip`: measure what one subject promises, against its bounds.

Exit status: 0 all bounds hold, 1 one fails, 3 none fails but one could not be measured here.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import structlog

from benchmarks.measure import Measured, Plan, Scale, circumstances, exit_status
from benchmarks.pages import record_name, refresh

SUBJECTS = {
    "chip": "speed, size and exactness of the virtual chip, beside its peers",
    "acceptance": "what the virtual chip must reproduce of published and bench data",
    "programming": "write-and-verify by schedule, fault maps, calibration, twins",
    "memory": "training speed beside PyTorch, and how many patterns each rule stores",
    "memory_chip": "the part of memory that is on virtual chips: recall, energy, latency",
    "a0": "messages and errors of the A0 board's driver beside the lab's client",
    "wire": "speed of the wire: codec, round trips, bulk data, an array programmed",
}
"""Each is a module of this package with `measure(plan)`, which yields one `Measured` after the other."""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""CPU time counts every thread, waiting ones too; read when a subject's module loads NumPy."""

PACKAGES = ("numpy", "scipy", "badcrossbar", "aihwkit", "torch")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("subject", choices=SUBJECTS, help="; ".join(f"{k}: {v}" for k, v in SUBJECTS.items()))
    parser.add_argument("--scale", choices=[s.value for s in Scale], default=Scale.QUICK.value)
    parser.add_argument("--seed", type=int, help="use fresh seeds from this one up, not the fixed ones")
    parser.add_argument("--json", action="store_true", help="print a list of records, not a table")
    parser.add_argument(
        "--record",
        action="store_true",
        help="keep the records in benchmarks/results, and the tables in docs up to date with the full ones",
    )
    arguments = parser.parse_args()
    if arguments.record and os.environ.get("MEMORY_DIGITS"):
        parser.error("records are of the bundled digits: unset MEMORY_DIGITS, or leave --record out")
    return arguments


def _told(lines: Iterator[Measured]) -> Iterator[Measured]:
    for line in lines:
        print(line.row(), flush=True)
        yield line


def _keep(name: str, lines: list[Measured]) -> None:
    """Write the record, and its values into the page that shows them."""
    root = Path(__file__).parents[1]
    path = root / "benchmarks" / "results" / name
    record = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "on": circumstances(PACKAGES),
        "results": [line.record() for line in lines],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    refresh(root / "docs", name, record)


def main() -> int:
    """Measure one subject and say how it went."""
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.environ |= ONE_THREAD
    plan = Plan(Scale(arguments.scale), arguments.seed)
    found = import_module(f"benchmarks.{arguments.subject}").measure(plan)
    lines = list(found if arguments.json else _told(found))
    if arguments.json:
        print(json.dumps([line.record() for line in lines], indent=1, ensure_ascii=False))
    if arguments.record:
        _keep(record_name(arguments.subject, plan.scale, plan.seed), lines)
    return exit_status(lines)


if __name__ == "__main__":
    sys.exit(main())
