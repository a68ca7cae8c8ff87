"""A chip whose process is killed at any instant: every operation happened whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sim_chip import Direction, VirtualChip, dac_code, preset
from sim_chip.book import Count, TimeCause

ROWS, COLS = np.divmod(np.arange(4096), 64)
WAIT_NS = 1_500_000_000
KILLS = 40


def act(chip: VirtualChip, step: int) -> None:
    """Operation number `step` of an endless run, always the same one."""
    kind = step % 5
    if kind < 2:
        volts, gate = ((1.2, 5.0), (2.2, 1.1))[kind]
        chip.pulse(0, ROWS, COLS, kind, dac_code(volts), dac_code(gate + 0.01 * (step % 7)), 1000)
    elif kind == 2:
        chip.read_cells(0, ROWS, COLS)
    elif kind == 3:
        chip.multiply(1, np.ones((64, 64)))
    else:
        chip.advance(WAIT_NS)


def steps_done(chip: VirtualChip) -> int:
    """How many operations the book knows of."""
    counts = chip.book.counts
    each = int(counts[Count.RESET] + counts[Count.SET] + counts[Count.READS]) // 4096
    return each + int(counts[Count.PRODUCTS]) // 64 + int(chip.book.time_ns[TimeCause.WAIT]) // WAIT_NS


def everything(chip: VirtualChip) -> list[bytes]:
    parts = [chip.planted(0)[1], chip.pulse_counts(0), chip.book.counts, chip.book.time_ns]
    return [part.tobytes() for part in [*parts, chip.book.energy_aj]]


def killed(path: str, seconds: float) -> None:
    """Let a process work on a chip's file for ever, and kill it after some time."""
    ready, started = os.pipe()
    child = os.fork()
    if child == 0:
        chip = VirtualChip.restore(path, mapped=True)
        os.write(started, b"!")
        for step in range(steps_done(chip), 10**9):
            act(chip, step)
    os.read(ready, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(started)


def kill_again_and_again(path: str) -> None:
    """Kill owners of one chip's file one after the other; a twin does the same in peace."""
    draw = random.Random(3)
    VirtualChip(preset("good"), 4, path=path)
    twin, done, halves = VirtualChip(preset("good"), 4), 0, 0
    for _ in range(KILLS):
        killed(path, draw.uniform(0.0, 0.03))
        marks = Path(path).read_bytes()
        chip = VirtualChip.restore(path, mapped=True)
        halves += marks != Path(path).read_bytes()
        while done < steps_done(chip):
            act(twin, done)
            done += 1
        assert everything(chip) == everything(twin)
        assert len(np.unique(chip.pulse_counts(0))) == 1
    sys.stdout.write(f"{done} {halves}\n")


def test_a_chip_killed_at_any_instant_is_one_between_two_operations(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "state")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    done, halves = map(int, ran.stdout.split())
    assert done > 0
    assert halves > 0  # operations that were cut in the middle and taken back


class _Cut(BaseException):
    """Ends an operation where nothing expects it."""


@pytest.mark.parametrize("places", [("spend", "charge_conversions"), ("burn",)])
def test_an_operation_that_ends_in_the_middle_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...]
) -> None:
    chip, twin = (VirtualChip(preset("good"), 4) for _ in range(2))
    chip.multiply(0, np.ones(64))
    twin.multiply(0, np.ones(64))

    def cut(*_: object) -> None:
        raise _Cut

    with monkeypatch.context() as patched:
        for place in places:
            patched.setattr(f"sim_chip.die.Die.{place}", cut)
        for operation in (
            lambda: chip.pulse(0, ROWS, COLS, Direction.SET, dac_code(2.2), dac_code(1.1), 1000),
            lambda: chip.read_cells(0, ROWS, COLS),
            lambda: chip.multiply(0, np.ones(64)),
            lambda: chip.sweep(0, 1, 2, Direction.SET, [dac_code(2.2)], dac_code(1.1), 1000),
        ):
            with pytest.raises(_Cut):
                operation()
    assert everything(chip) == everything(twin)
    assert chip.clock_ns == twin.clock_ns
    assert np.array_equal(chip.multiply(0, np.eye(64)), twin.multiply(0, np.eye(64)))
    assert np.array_equal(chip.read_cells(0, ROWS, COLS), twin.read_cells(0, ROWS, COLS))


def test_a_chip_s_file_appears_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", None)
        with pytest.raises(TypeError):
            VirtualChip(preset("good"), 1, path=path)
    assert not path.exists()
    VirtualChip(preset("good"), 1, path=path)
    with pytest.raises(FileExistsError):
        VirtualChip(preset("good"), 1, path=path)


if __name__ == "__main__":
    kill_again_and_again(sys.argv[1])
