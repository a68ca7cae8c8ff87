"""The A0 board: messages and errors of this driver beside those of the lab's client, and the native board.

The client's side is its message sequences as data, `tests/sim_chip/a0_sequences.py`, which the counts of its
real runs hold to the letter. All three drive virtual chips of the same seed and conductances in this process.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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


def measure(plan: Plan) -> Iterator[Measured]:
    """Array read, product and tuning by the three doors."""
    seed = SEED if plan.seed is None else plan.seed
    dice = np.random.default_rng(seed)
    known = dice.uniform(0, 100e-6, (3, 64, 64))
    inputs = dice.uniform(0, 1, (1000, 64))
    steps = 10 if plan.scale is Scale.QUICK else 100
    with ExitStack() as stack:
        doors = _doors(stack, known, seed)
        reads = {name: _read(door) for name, door in doors.items()}
        yield from _beside("array read", reads, {n: _rms(d.found - known[0]) for n, d in reads.items()}, 574)
        products = {name: _multiply(door, inputs) for name, door in doors.items()}
        errors = {name: _off_line(done.found, inputs @ known[0]) for name, done in products.items()}
        yield from _beside("1000 vectors of 8 bits", products, errors, 11_648)
        target = dice.uniform(0, 100e-6, (64, 64))
        tuned = {name: _tune(door, target, steps) for name, door in doors.items() if name != "native"}
        off = {n: float(np.mean(np.abs(d.found - target) > RAMPS.tolerance_out)) for n, d in tuned.items()}
        yield from _beside(f"array tuned, {steps} steps", tuned, off, None)


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


def _tune(door: Any, target: Map, steps: int) -> Done:
    before = _count(door)
    if isinstance(door, _Slow):
        ramps = _S.Ramps(width_s=RAMPS.width_s, most_steps=steps)
        found, _ = door.tune(target, np.ones((64, 64), np.bool_), ramps)
    else:
        found = (
            DPE(door)
            .tune_conductance(
                0,
                target,
                vSetRamp=_true(RAMPS.set_volts),
                vGateSetRamp=_true(RAMPS.set_gates),
                vResetRamp=_true(RAMPS.reset_volts),
                vGateResetRamp=RAMPS.reset_gates,
                Gtol_in=RAMPS.tolerance_in,
                Gtol_out=RAMPS.tolerance_out,
                Twidth=RAMPS.width_s,
                maxSteps=steps,
            )
            .Gread
        )
    return Done(_count(door) - before, found)


def _true(ramp: tuple[float, float, float]) -> tuple[float, float, float]:
    """What devices get when the client asks for these. RESET gates, open either way, are left at 5.5 V."""
    first, last, step = ramp
    return first + OUTPUT_OFFSET_VOLTS, last + OUTPUT_OFFSET_VOLTS, step


def _beside(
    what: str, done: dict[str, Done], errors: dict[str, float], known: int | None
) -> Iterator[Measured]:
    """Messages of each door, how many fewer the driver needs, and its error by the client's."""
    for name, each in done.items():
        bound = Bound(known, known) if name == "client" and known else ANY
        yield Measured(f"{what}: messages, {name}", "", bound, (float(each.messages),))
    ours, theirs = done["driver"].messages, done["client"].messages
    yield Measured(f"{what}: client's messages by the driver's", "×", at_least(FEWER), (theirs / ours,))
    ratio = errors["driver"] / errors["client"]
    yield Measured(f"{what}: driver's error by the client's", "×", at_most(AS_GOOD), (ratio,))


def _rms(off: Map) -> float:
    return float(np.sqrt(np.mean(off**2)))


def _off_line(found: Map, expected: Map) -> float:
    """Deviation from the best line of each column, as the lab corrects columns."""
    lines = [np.polyfit(e, f, 1) for e, f in zip(expected.T, found.T, strict=True)]
    rests = [f - np.polyval(line, e) for line, e, f in zip(lines, expected.T, found.T, strict=True)]
    return _rms(np.array(rests))
