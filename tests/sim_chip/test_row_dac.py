"""Rows driven by DACs of eight bits instead of switches."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_chip import VirtualChip, crossbar, device, preset

_spec = importlib.util.spec_from_file_location("nodal", Path(__file__).with_name("nodal.py"))
assert _spec is not None
assert _spec.loader is not None
nodal = importlib.util.module_from_spec(_spec)
sys.modules["nodal"] = nodal
_spec.loader.exec_module(nodal)

KIND = preset("row_dac")
IDEAL = replace(preset("ideal"), converters=replace(preset("ideal").converters, row_bits=8))


def test_a_code_is_its_share_of_the_read_voltage() -> None:
    chip = VirtualChip(IDEAL, conductance=np.full((3, 64, 64), 1e-5))
    chip.set_gain(0, 1)
    drive = np.repeat(np.arange(0, 256, 5)[:, None], 64, axis=1)
    codes = (chip.multiply(0, drive) & 1023)[:, 0, 0]
    expected = 16 + drive[:, 0] / 255 * 64 * 1e-5 * 0.2 * 5000 * 1023 / 3.5
    assert np.abs(codes - expected).max() < 1.0


def test_full_codes_read_like_set_bits() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (200, 64))
    us = np.random.default_rng(2).uniform(0, 50, (3, 64, 64))
    means = []
    for kind, full in ((preset("good"), 1), (KIND, 255)):
        chip = VirtualChip(kind, 1, conductance=us * 1e-6)
        chip.set_gain(0, 0)
        means.append((chip.multiply(0, bits * full) & 1023).astype(float).mean())
        assert kind.row_code_max == full
    assert means[0] == pytest.approx(means[1], abs=0.1)


@pytest.mark.parametrize("code", [-1, 256])
def test_codes_no_dac_has_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        VirtualChip(KIND).multiply(0, np.full(64, code))


def test_a_batch_is_its_vectors_one_by_one() -> None:
    together, apart = (VirtualChip(KIND, 1) for _ in range(2))
    drive = np.random.default_rng(1).integers(0, 256, (90, 64))
    parts = [apart.multiply(0, vector) for vector in drive]
    assert np.array_equal(together.multiply(0, drive), np.concatenate(parts))
    assert together.book.energies() == apart.book.energies()


def test_the_largest_sums_are_exact() -> None:
    """1 mS everywhere, the largest fluctuation, all rows at full: every sum is below 2**53."""
    us = np.full((64, 64), 1000.0)
    drive = np.full((1, 64), 255)
    wired = preset("good").wires
    for wires in (wired, replace(wired, on=False), replace(wired, segment_ohms=5.0, tia_ohms=250.0)):
        cells = crossbar.cell_siemens(np.rint(us * 1e5).astype(np.int32), 0.0)
        noise = crossbar.Noise(np.full((64, 64), 20e-6), None, 255)
        solution = crossbar.solved(wires, cells)
        maps = crossbar.product_map(wires, cells, solution, noise, np.arange(64))
        assert maps.variance is not None
        exact = [
            (drive @ maps.currents.astype(object)),
            ((drive * drive) @ maps.variance.constant.astype(object)),
        ]
        for part, weight in zip(maps.variance.loaded or (), (drive, drive, drive), strict=False):
            exact.append(abs(weight @ part.astype(object)))
        assert max(int(np.max(part)) for part in exact) < 2**53


def test_noise_of_graded_inputs_is_that_of_every_cell() -> None:
    rng = np.random.default_rng(2)
    drive = rng.integers(0, 256, (20, 64)).astype(float)
    us = rng.uniform(0, 150, (64, 64))
    model = KIND.wires
    cells = crossbar.cell_siemens(np.rint(us * 1e5).astype(np.int32), 330.0)
    sigma = device.fluctuation_us(KIND.fluctuation, us, np.zeros((64, 64))) / (1.0 + 330e-6 * us) ** 2
    noise = crossbar.Noise(sigma * 1e-6, None, 255)
    maps = crossbar.product_map(model, cells, crossbar.solved(model, cells), noise, np.arange(64))
    assert maps.variance is not None
    drawn = np.sqrt(maps.variance.of(drive)) * 1e-10 / 255
    lines = crossbar.lines(model)
    _, across = nodal.solution(cells, lines)
    turned = type(lines)(lines.segment, lines.tia, lines.driver)
    _, adjoint = nodal.solution(np.ascontiguousarray(cells[::-1, ::-1].T), turned)
    adjoint = adjoint[::-1, ::-1, ::-1].transpose(1, 0, 2)
    volts = across.reshape(4096, 64) @ (drive / 255).T
    exact = np.sqrt((sigma.reshape(4096, 1) * 1e-6 * volts).T ** 2 @ adjoint.reshape(4096, 64) ** 2)
    assert drawn / exact == pytest.approx(np.ones_like(exact), abs=0.015)
