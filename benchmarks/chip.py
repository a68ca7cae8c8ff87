"""The virtual chip: how fast, how large and how exact, beside its peers in the same run."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os import sysconf
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks import peers
from benchmarks.measure import (
    ANY,
    Bound,
    Measured,
    Plan,
    Scale,
    at_least,
    at_most,
    cpu_seconds,
    cpu_side_by_side,
)
from chipctl.chip import connect
from chipctl.programming import program
from sim_chip import Direction, VirtualChip, dac_code, preset, wires

Floats = npt.NDArray[np.float64]

SPAN = 150e-6  # S
VECTORS = 10_000
BLOCK = 64  # vectors that the floor multiplies at a time: what fits the cache
LONG_AGO_NS = 10**15  # relaxation has come to rest: no wires to solve between products


@dataclass(frozen=True)
class Effort:
    """How often each thing is measured."""

    samples: int
    solves: int
    starts: int
    idle_seconds: float
    sizes: tuple[int, ...]


EFFORTS = {
    Scale.QUICK: Effort(samples=7, solves=5, starts=5, idle_seconds=5, sizes=(1, 2, 7, 64)),
    Scale.FULL: Effort(
        samples=31, solves=25, starts=21, idle_seconds=30, sizes=(1, 2, 3, 5, 8, 16, 32, 48, 64)
    ),
}


QUICK_EASE = 1.5
"""Factor on the bounds of times in a quick run: few samples, on a machine that may have other work."""


def measure(plan: Plan) -> Iterator[Measured]:
    """All that is bounded about the virtual chip, in µs, ms, s, MB, % or ratios of CPU times."""
    for line in _lines(plan):
        eased = plan.scale is Scale.QUICK and line.unit in ("µs", "ms", "s")
        yield replace(line, bound=at_most(QUICK_EASE * line.bound.high)) if eased else line


def _lines(plan: Plan) -> Iterator[Measured]:
    effort = EFFORTS[plan.scale]
    seed = 0 if plan.seed is None else plan.seed
    yield from _products(effort, seed)
    yield from _wires(effort, seed)
    yield from _exactness(effort, seed)
    yield from _pulses(effort, seed)
    yield _write_verify(effort, seed)
    yield _import(effort)
    yield _idle(effort)
    yield _size()


def _one(name: str, value: float, unit: str, bound: Bound = ANY) -> Measured:
    return Measured(name, unit, bound, (value,))


def _uniform_chip(seed: int) -> VirtualChip:
    rng = np.random.default_rng(seed)
    chip = VirtualChip(preset("good"), seed, conductance=rng.uniform(0, SPAN, (3, 64, 64)))
    chip.set_gain(0, 0)
    chip.advance(LONG_AGO_NS)
    return chip


def _products(effort: Effort, seed: int) -> Iterator[Measured]:
    """Conversion, offsets, saturation, solved wires and fresh fluctuation of every cell are all on."""
    chip, rng = _uniform_chip(seed), np.random.default_rng(seed)
    bits = rng.integers(0, 2, (VECTORS, 64)).astype(np.uint8)
    inputs, matrix = bits.astype(np.float64), rng.uniform(0, SPAN, (64, 64))

    def floor() -> None:
        for first in range(0, VECTORS, BLOCK):
            part = inputs[first : first + BLOCK]
            _ = part @ matrix
            _ = part @ matrix
            rng.standard_normal((len(part), 64))

    calls = {"chip": lambda: chip.multiply(0, bits), "floor": floor}
    found = cpu_side_by_side(calls, effort.samples)
    each = found["chip"] / VECTORS
    yield _one("product of 64×64, in 10 000", each * 1e6, "µs", at_most(4))
    yield _one(
        "the same over two products and 64 normal draws", found["chip"] / found["floor"], "×", at_most(2.5)
    )
    for peer in peers.PRODUCTS:
        name = f"{peer.name} over the same"
        try:
            theirs = peer.seconds_per_vector(max(3, effort.samples // 5))
        except peers.MissingError as missing:
            yield Measured(name, "×", peer.bound, reason=str(missing))
        else:
            yield _one(name, theirs / each, "×", peer.bound)
    alone = cpu_seconds(lambda: chip.multiply(0, bits[0]), effort.samples, calls=300)
    yield _one("one product alone", alone * 1e6, "µs", at_most(40))


def _wires(effort: Effort, seed: int) -> Iterator[Measured]:
    """New conductances each time, then more vectors through the same."""
    rng = np.random.default_rng(seed)
    lines = wires.Lines(1.0, 0.0, 0.0)
    volts = rng.uniform(0, 0.2, (1000, 64))
    solved = wires.solve(rng.uniform(1e-5, 1e-4, (64, 64)), lines).transconductance
    calls: dict[str, Callable[[], object]] = {
        "new": lambda: wires.solve(rng.uniform(1e-5, 1e-4, (64, 64)), lines)
    }
    reason = None
    try:
        calls |= peers.badcrossbar_calls(seed)
    except peers.MissingError as missing:
        reason = str(missing)
    taken = cpu_side_by_side(calls, effort.solves)
    further = cpu_seconds(lambda: volts @ solved, effort.solves, calls=10) / len(volts)
    yield _one("new conductances with exact wires", taken["new"] * 1e3, "ms")
    yield _one("each further vector", further * 1e6, "µs")
    new, more = "badcrossbar over ours: new conductances", "badcrossbar over ours: each further vector"
    if reason:
        yield Measured(new, "×", at_least(5), reason=reason)
        yield Measured(more, "×", at_least(1000), reason=reason)
    else:
        yield _one(new, taken["one"] / taken["new"], "×", at_least(5))
        theirs = (taken["many"] - taken["one"]) / (peers.MANY - 1)
        yield _one(more, theirs / further, "×", at_least(1000))


CORNERS = {
    "0.1-150 µS, 1 Ω": (1e-7, 1.5e-4, 1.0),
    "10k-100k, 3 Ω": (1e-5, 1e-4, 3.0),
    "1k-10k, 1 Ω": (1e-4, 1e-3, 1.0),
    "1k-10k, 3 Ω": (1e-4, 1e-3, 3.0),
    "10 nS-600 µS, 0.1 Ω": (1e-8, 6e-4, 0.1),
}
"""Lowest and highest cell conductance (S), wire segment (Ω)."""


def _exactness(effort: Effort, seed: int) -> Iterator[Measured]:
    """Largest relative difference of a column current from nodal analysis, over all sizes of arrays."""
    rng = np.random.default_rng(seed)
    for name, (low, high, segment) in CORNERS.items():
        title = f"column currents against badcrossbar, {name}"
        worst = 0.0
        try:
            for size in effort.sizes:
                cells = rng.uniform(low, high, (size, size))
                volts = rng.uniform(0.02, 0.2, (8, size))
                exact = peers.badcrossbar_currents(cells, volts, segment)
                ours = volts @ wires.solve(cells, wires.Lines(segment, 0.0, 0.0)).transconductance
                worst = max(worst, float(np.max(np.abs(ours / exact - 1))))
        except peers.MissingError as missing:
            yield Measured(title, "rel.", at_most(1e-9), reason=str(missing))
        else:
            yield _one(title, worst, "rel.", at_most(1e-9))


def _pulses(effort: Effort, seed: int) -> Iterator[Measured]:
    rows, cols = np.divmod(np.arange(64 * 64), 64)
    for direction, volts, gate in ((Direction.SET, 1.8, 1.1), (Direction.RESET, 1.2, 5.0)):
        chip = _uniform_chip(seed)
        codes = dac_code(volts), dac_code(gate)

        def pulse(
            chip: VirtualChip = chip, direction: Direction = direction, codes: tuple[int, int] = codes
        ) -> None:
            chip.pulse(0, rows, cols, direction, *codes, 1000)

        taken = cpu_seconds(pulse, effort.samples, calls=10)
        yield _one(f"one {direction.name} pulse on each of 4096 devices", taken * 1e3, "ms", at_most(1))


def _write_verify(effort: Effort, seed: int) -> Measured:
    """Uniform targets on fresh chips, through the wire and back, host and board in one process."""
    taken = []
    for repeat in range(max(3, effort.samples // 3)):
        targets = np.random.default_rng(seed + repeat).uniform(0, SPAN, (64, 64))
        with connect(f"sim://?preset=good&seed={seed + repeat}") as chip:
            start = time.process_time()
            program(chip, 0, targets)
            taken.append(time.process_time() - start)
    return _one("write-verify of an array in the microcontroller", median(taken), "s", at_most(1.5))


def _import(effort: Effort) -> Measured:
    code = "import time; t = time.process_time(); import sim_chip; print(time.process_time() - t)"
    taken = [float(_python("-c", code)) for _ in range(effort.starts)]
    return _one("import sim_chip", median(taken), "s", at_most(0.3))


def _size() -> Measured:
    """Growth of a process per chip that has multiplied on all its arrays."""
    return _one(
        "memory of one chip in use", float(_python("-m", "benchmarks.footprint")) / 1e6, "MB", at_most(8)
    )


def _python(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    command = (sys.executable, *arguments)
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=120).stdout


def _idle(effort: Effort) -> Measured:
    """Share of a core that a served chip takes while nobody asks anything, in whole clock ticks."""
    code = "from sim_chip.cli import run; run()"
    name = "an idle served chip"
    if not Path("/proc/self/stat").exists():
        return Measured(name, "%", at_most(0), reason="no /proc here")
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", code, "serve", "--pty", f"{place}/chip"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]) as server:
            assert server.stderr is not None
            try:
                server.stderr.readline()
                time.sleep(1.0)
                before = _ticks(server.pid)
                time.sleep(effort.idle_seconds)
                ticks = _ticks(server.pid) - before
            finally:
                server.terminate()
    share = ticks / sysconf("SC_CLK_TCK") / effort.idle_seconds
    return _one(name, 100 * share, "%", at_most(0))


def _ticks(pid: int) -> int:
    """Clock ticks of CPU time that a process has had."""
    fields = re.sub(r"^.*\) ", "", Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")).split()
    return int(fields[11]) + int(fields[12])
