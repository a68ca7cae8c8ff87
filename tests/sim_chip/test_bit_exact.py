"""Same seed and operations, same bytes: in any batching, on any kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_chip import AUTO_GAIN, FaultPlan, VirtualChip, dac_code, preset

GOLDEN = """\
good 0c47e4ecf3c58ff27e40a5dc16f5898a796ef0dc9555381a1bbfc353c573bfd6
raw 03f00d1205189bffefbee2331a1bb9e27eaff25471bf7d0a7eb26188ea01c5db
"""
ROWS, COLS = np.divmod(np.arange(4096), 64)
few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**63)


def kernels() -> list[dict[str, str]]:
    """Environments that make numpy and OpenBLAS take other code paths."""
    from numpy._core import _multiarray_umath as umath

    found = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    return [
        {},
        {"NPY_DISABLE_CPU_FEATURES": " ".join(found), "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
    ]


@pytest.mark.parametrize("environment", kernels(), ids=lambda e: "+".join(e) or "as it is")
def test_golden_transcript(environment: dict[str, str]) -> None:
    script = Path(__file__).with_name("golden.py")
    ran = subprocess.run(
        [sys.executable, script],
        env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == GOLDEN


@few
@given(seeds, st.integers(1, 150), st.data())
def test_vectors_one_by_one_are_those_of_a_batch(seed: int, number: int, data: st.DataObject) -> None:
    together, apart = (VirtualChip(preset("good"), seed) for _ in range(2))
    gain = data.draw(st.sampled_from([0, 2, 3, AUTO_GAIN]))
    cuts = sorted(data.draw(st.lists(st.integers(0, number), max_size=5)))
    bits = np.random.default_rng(number).integers(0, 2, (number, 64))
    for chip in (together, apart):
        chip.pulse(0, ROWS[:300], COLS[:300], 1, dac_code(2.2), dac_code(1.1), 1000)
        chip.set_gain(0, gain)
        chip.advance(999_000_000)
    parts = [apart.multiply(0, part) for part in np.split(bits, cuts) if len(part)]
    assert np.array_equal(together.multiply(0, bits), np.concatenate(parts))
    assert together.book.energies() == apart.book.energies()
    assert together.clock_ns == apart.clock_ns


@few
@given(seeds, st.integers(1, 60), st.integers(1, 4))
def test_reads_one_by_one_are_those_of_a_batch(seed: int, number: int, reads: int) -> None:
    together, apart = (VirtualChip(preset("good"), seed) for _ in range(2))
    for chip in (together, apart):
        chip.pulse(0, ROWS, COLS, 1, dac_code(2.2), dac_code(1.1), 1000)
        chip.set_gain(0, 2)
        chip.advance(1_000_000_000 - 300_000)
    rows, cols = ROWS[100 : 100 + number], COLS[100 : 100 + number]
    batch = together.read_cells(0, rows, cols, reads)
    single = [
        [apart.read_cells(0, row, col)[0, 0] for _ in range(reads)]
        for row, col in zip(rows, cols, strict=True)
    ]
    assert np.array_equal(batch, np.array(single))
    assert together.book.energies() == apart.book.energies()


@few
@given(seeds, st.sets(st.integers(0, 4095), min_size=1, max_size=80), st.integers(0, 1))
def test_a_masked_pulse_is_the_same_pulse_alone(seed: int, chosen: set[int], direction: int) -> None:
    whole, alone, singly = (VirtualChip(preset("good"), seed) for _ in range(3))
    devices = np.array(sorted(chosen))
    volts = np.zeros(4096, dtype=np.uint16)
    volts[devices] = np.linspace(dac_code(0.8), dac_code(2.5), len(devices)).astype(np.uint16)
    gate = dac_code(1.2 if direction else 5.0)
    whole.pulse(2, ROWS, COLS, direction, volts, gate, 1000)
    alone.pulse(2, ROWS[devices], COLS[devices], direction, volts[devices], gate, 1000)
    for d in devices:
        singly.pulse(2, ROWS[d], COLS[d], direction, volts[d], gate, 1000)
    read = [chip.read_cells(2, ROWS, COLS).tobytes() for chip in (whole, alone, singly)]
    true = [chip.planted(2)[1].tobytes() for chip in (whole, alone, singly)]
    energies = [chip.book.energies() for chip in (whole, alone, singly)]
    assert read == [read[0]] * 3
    assert true == [true[0]] * 3
    assert energies == [energies[0]] * 3


@few
@given(seeds, st.integers(0, 5))
def test_a_restored_chip_goes_on_as_if_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, seed: int, stop: int
) -> None:
    path = tmp_path_factory.mktemp("chip") / "state"
    through, broken = (VirtualChip(preset("poor"), seed) for _ in range(2))
    for step in range(6):
        if step == stop:
            broken.save(path)
            broken = VirtualChip.restore(path)
        for chip in (through, broken):
            chip.set_gain(0, AUTO_GAIN)
            volts = dac_code(1.0 + 0.3 * step)
            chip.pulse(0, ROWS[::2], COLS[::2], step % 2, volts, dac_code(1.3), 1000)
            chip.advance(10**9)
        bits = np.eye(64)[:7]
        assert np.array_equal(through.multiply(0, bits), broken.multiply(0, bits))
        reads = (chip.read_cells(0, ROWS, COLS, 2) for chip in (through, broken))
        assert np.array_equal(*reads)
    assert through.book.energies() == broken.book.energies()


def test_a_restored_chip_does_not_solve_its_wires_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = VirtualChip(preset("good"), 3)
    words = chip.multiply(0, np.ones((1, 64)))
    chip.save(tmp_path / "state")
    monkeypatch.setattr("sim_chip.wires.solve", None)
    restored = VirtualChip.restore(tmp_path / "state")
    assert restored.multiply(0, np.ones((1, 64))).shape == words.shape


def test_a_mapped_state_outlives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "state"
    script = (
        "import os, numpy as np\n"
        "from sim_chip import VirtualChip, dac_code, preset\n"
        f"chip = VirtualChip(preset('good'), 8, path={str(path)!r})\n"
        "chip.pulse(0, np.arange(64), 5, 1, dac_code(2.5), dac_code(1.2), 1000)\n"
        "chip.read_cells(0, 0, 0, 3)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    same = VirtualChip(preset("good"), 8)
    same.pulse(0, np.arange(64), 5, 1, dac_code(2.5), dac_code(1.2), 1000)
    same.read_cells(0, 0, 0, 3)
    survivor = VirtualChip.restore(path, mapped=True)
    assert np.array_equal(survivor.planted(0)[1], same.planted(0)[1])
    assert np.array_equal(survivor.read_cells(0, 0, 0, 3), same.read_cells(0, 0, 0, 3))
    assert survivor.clock_ns == same.clock_ns


def test_seeds_and_arrays_differ() -> None:
    chips = [VirtualChip(preset("good"), seed) for seed in (0, 1)]
    maps = [chip.planted(array)[1] for chip in chips for array in range(3)]
    assert len({m.tobytes() for m in maps}) == 6


def test_a_plan_of_no_faults_leaves_other_draws_alone() -> None:
    planned = VirtualChip(preset("good"), 1, faults=FaultPlan(kinds=np.zeros((3, 64, 64), np.uint8)))
    plain = VirtualChip(preset("good"), 1)
    healthy = plain.planted(0)[0] == 0
    assert np.array_equal(planned.planted(0)[1][healthy], plain.planted(0)[1][healthy])
