"""The A0 board: messages and errors of this driver beside those of the lab's client, and the native board.

The client's side is its message sequences as data, `tests/sim_chip/a0_sequences.py`, which the counts of its
real runs hold to the letter. All drive virtual chips of the same seed and conductances in this process.

Pulses longer than the chip times have no bound on messages: the client gives them in batches by command 407,
whose width on the board is stray, the driver one by one by 406. What is asked instead is that the longest
pulses that the chip does time reach as much by as few messages as a batch should take.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_least, at_most
from chipctl.a0_board import A0Board, A0Place
from chipctl.chip import Chip
from chipctl.dpe import DPE
from chipctl.link import Link
from chipctl.programming import PulseSchedule, program
from firmware_protocol.a0_words import OUTPUT_OFFSET_VOLTS
from sim_chip.a0_mcu import A0Mcu
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset
from sim_chip.server import Endpoint

Map = NDArray[np.float64]


def _sequences() -> ModuleType:
    """The tests' own module; tests are no package."""
    path = Path(__file__).parents[1] / "tests" / "sim_chip" / "a0_sequences.py"
    spec = spec_from_file_location("a0_sequences", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["a0_sequences"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_S = _sequences()

FEWER = 3.0
AS_GOOD = 1.05
"""Most that an error may be of the client's to count as equal."""

SEED = 21
GAIN = 1
"""Takes the current of 64 rows."""
RAMPS = _S.Ramps(width_s=1e-6)
"""Those most used on the bench, at a width that the chip times: the client's 137 messages a batch."""

QUICK_RAMPS = replace(RAMPS, set_gates=(0.9, 1.4, 0.05), reset_volts=(0.8, 1.5, 0.05), most_steps=30)
"""Their upper part: the lower one moves next to nothing in so few steps."""

LONG_S = 10e-6
"""Width of SET pulses most used on the bench, longer than the chip times."""
TIMED_S = 5e-6
"""About the longest that it does."""
BLOCK = 20
"""Rows and columns of a matrix tuned on the bench by such pulses."""


@dataclass(frozen=True)
class Done:
    """What one of the three doors took and showed."""

    messages: int
    found: Map


class _Served:
    """A board for an `Endpoint`."""

    def __init__(self, mcu: A0Mcu | VirtualMcu) -> None:
        self.mcu = mcu

    def reset(self) -> None:
        """No button here."""

    def close(self) -> None:
        """Bring the chip to its safe state."""
        self.mcu.power_down()


class _Slow(_S.Client):  # type: ignore[misc]
    """The client as it tunes by default: by slow reads."""

    def read_fast(self, *_: Any, **__: Any) -> Map:
        return np.asarray(self.read_slow(delay_us=0))


@dataclass(frozen=True)
class Task:
    """What is tuned, and how."""

    target: Map
    mask: NDArray[np.bool_]
    ramps: Any


def measure(plan: Plan) -> Iterator[Measured]:
    """Array read, product and tuning by each door."""
    seed = SEED if plan.seed is None else plan.seed
    dice = np.random.default_rng(seed)
    known = dice.uniform(0, 100e-6, (3, 64, 64))
    inputs = dice.uniform(0, 1, (1000, 64))
    quick = plan.scale is Scale.QUICK
    with ExitStack() as stack:
        doors = _doors(stack, known, seed)
        reads = {name: _read(door) for name, door in doors.items()}
        yield from _beside("array read", reads, {n: _rms(d.found - known[0]) for n, d in reads.items()}, 574)
        products = {name: _multiply(door, inputs) for name, door in doors.items()}
        errors = {name: _off_line(done.found, inputs @ known[0]) for name, done in products.items()}
        yield from _beside("1000 vectors of 8 bits", products, errors, 11_648)
    target = dice.uniform(0, 100e-6, (64, 64))
    ramps = QUICK_RAMPS if quick else replace(RAMPS, most_steps=100)
    yield from _array_tuned(known, seed, Task(target, np.ones((64, 64), np.bool_), ramps))
    chosen = np.zeros((64, 64), np.bool_)
    chosen[:BLOCK, :BLOCK] = True
    ramps = replace(QUICK_RAMPS if quick else RAMPS, width_s=LONG_S)
    yield from _tuned_by_long_pulses(known, seed, Task(target, chosen, ramps))


def _array_tuned(known: Map, seed: int, task: Task) -> Iterator[Measured]:
    what = f"array tuned, {task.ramps.most_steps} steps"
    with ExitStack() as stack:
        done = {name: _tune(door, task) for name, door in _doors(stack, known, seed).items()}
        done["native by itself"] = _job(_doors(stack, known, seed)["native"], task)
    yield from _messages(what, done)
    yield _fewer(what, done["client"], done["driver"], at_least(FEWER))
    yield from _shares(what, done, task)
    yield from _no_worse(what, done["client"], done["driver"], task)


def _tuned_by_long_pulses(known: Map, seed: int, task: Task) -> Iterator[Measured]:
    """A block by pulses as wide as the client's, and by the longest that the chip times."""
    what = f"{BLOCK}x{BLOCK} tuned by 10 us, {task.ramps.most_steps} steps"
    timed = replace(task, ramps=replace(task.ramps, width_s=TIMED_S))
    with ExitStack() as stack:
        done = {name: _tune(door, task) for name, door in _doors(stack, known, seed).items()}
        by_timed = _tune(_doors(stack, known, seed)["driver"], timed)
    yield from _messages(what, done)
    yield _fewer(what, done["client"], done["driver"], ANY)
    yield from _shares(what, done, task)
    yield from _no_worse(what, done["client"], done["driver"], task)
    instead = f"{BLOCK}x{BLOCK} by 5 us instead"
    yield from _messages(instead, {"driver": by_timed})
    yield _fewer(instead, done["client"], by_timed, at_least(FEWER))
    yield from _shares(instead, {"driver": by_timed}, task)
    yield from _no_worse(instead, done["client"], by_timed, task)


def _doors(stack: ExitStack, known: Map, seed: int) -> dict[str, Any]:
    def chip() -> VirtualChip:
        return VirtualChip(preset("good"), seed, conductance=known)

    client = _Slow(_S.Direct(A0Mcu(chip())))
    client.set_clock(50)
    line = Endpoint("a0", _Served(A0Mcu(chip())))  # type: ignore[arg-type]
    board = stack.enter_context(A0Board(A0Place("a0"), lambda: line).session())
    native = stack.enter_context(Link(Endpoint("native", _Served(VirtualMcu(chip())))))  # type: ignore[arg-type]
    return {"client": client, "driver": Chip(board), "native": Chip.over(native)}


def _count(door: Any) -> int:
    return int(door.link.messages if isinstance(door, _Slow) else door.board.link_statistics().requests)


def _read(door: Any) -> Done:
    before = _count(door)
    found = door.read_slow(delay_us=0) if isinstance(door, _Slow) else door.read(0)
    return Done(_count(door) - before, found)


def _multiply(door: Any, inputs: Map) -> Done:
    before = _count(door)
    if isinstance(door, _Slow):
        found = door.multiply(inputs, gain=GAIN)
    else:
        volts = door.readout.read_volts
        found = door.multiply(0, inputs * volts, input_bits=8, gain=GAIN) / volts
    return Done(_count(door) - before, found)


def _tune(door: Any, task: Task) -> Done:
    before, ramps = _count(door), task.ramps
    if isinstance(door, _Slow):
        found, _ = door.tune(task.target, task.mask, ramps)
        return Done(_count(door) - before, found)
    result = DPE(door).tune_conductance(
        0,
        task.target,
        Msel=task.mask,
        vSetRamp=_true(ramps.set_volts),
        vGateSetRamp=_true(ramps.set_gates),
        vResetRamp=_true(ramps.reset_volts),
        vGateResetRamp=ramps.reset_gates,
        Gtol_in=ramps.tolerance_in,
        Gtol_out=ramps.tolerance_out,
        Twidth=ramps.width_s,
        maxSteps=ramps.most_steps,
    )
    return Done(_count(door) - before, result.Gread)


def _job(door: Chip, task: Task) -> Done:
    """By the board itself, to the inner tolerance by the driver's own schedule."""
    before = _count(door)
    schedule = PulseSchedule(tolerance=task.ramps.tolerance_in, inner_tolerance=task.ramps.tolerance_in / 2)
    report = program(door, 0, task.target, mask=task.mask, schedule=schedule)
    return Done(_count(door) - before, report.final)


def _true(ramp: tuple[float, float, float]) -> tuple[float, float, float]:
    """What devices get when the client asks for these. RESET gates, open either way, are left at 5.5 V."""
    first, last, step = ramp
    return first + OUTPUT_OFFSET_VOLTS, last + OUTPUT_OFFSET_VOLTS, step


def _beside(what: str, done: dict[str, Done], errors: dict[str, float], known: int) -> Iterator[Measured]:
    """Messages of each door, how many fewer the driver needs, and its error by the client's."""
    yield from _messages(what, done, known)
    yield _fewer(what, done["client"], done["driver"], at_least(FEWER))
    ratio = errors["driver"] / errors["client"]
    yield Measured(f"{what}: driver's error by the client's", "×", at_most(AS_GOOD), (ratio,))


def _messages(what: str, done: dict[str, Done], known: int | None = None) -> Iterator[Measured]:
    for name, each in done.items():
        bound = Bound(known, known) if name == "client" and known else ANY
        yield Measured(f"{what}: messages, {name}", "", bound, (float(each.messages),))


def _fewer(what: str, theirs: Done, ours: Done, bound: Bound) -> Measured:
    name = f"{what}: client's messages by the driver's"
    return Measured(name, "×", bound, (theirs.messages / ours.messages,))


def _shares(what: str, done: dict[str, Done], task: Task) -> Iterator[Measured]:
    """Devices within 4 and 5 µS of their targets, as the bench counts them."""
    for name, each in done.items():
        for micro in (4, 5):
            value = 100 * _within(each, task, micro * 1e-6)
            yield Measured(f"{what}: within {micro} uS, {name}", "%", ANY, (value,))


def _no_worse(what: str, theirs: Done, ours: Done, task: Task) -> Iterator[Measured]:
    """Shares of finitely many devices: chance alone parts two equal ones by up to three deviations."""
    for micro in (5, 10):
        share = _within(theirs, task, micro * 1e-6)
        chance = 3 * np.sqrt(2 * share * (1 - share) / np.count_nonzero(task.mask))
        value = 100 * (_within(ours, task, micro * 1e-6) - share)
        name = f"{what}: driver's share within {micro} uS less the client's"
        yield Measured(name, "%", at_least(-100 * chance), (value,))


def _within(done: Done, task: Task, tolerance: float) -> float:
    return float(np.mean(np.abs(done.found - task.target)[task.mask] < tolerance))


def _rms(off: Map) -> float:
    return float(np.sqrt(np.mean(off**2)))


def _off_line(found: Map, expected: Map) -> float:
    """Deviation from the best line of each column, as the lab corrects columns."""
    lines = [np.polyfit(e, f, 1) for e, f in zip(expected.T, found.T, strict=True)]
    rests = [f - np.polyval(line, e) for line, e, f in zip(lines, expected.T, found.T, strict=True)]
    return _rms(np.array(rests))
