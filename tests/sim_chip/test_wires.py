"""The ladder solve against nodal analysis, and its integers against the machine."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_chip import VirtualChip, crossbar, device, preset, wires
from sim_chip.reads import CURRENT_UNIT, Reads
from sim_chip.wires import Lines

_spec = importlib.util.spec_from_file_location("nodal", Path(__file__).with_name("nodal.py"))
assert _spec is not None
assert _spec.loader is not None
nodal = importlib.util.module_from_spec(_spec)
sys.modules["nodal"] = nodal
_spec.loader.exec_module(nodal)

DEFAULT = Lines(1.0, 50.0, 25.0)
CORNERS = [
    (1e-7, 1.5e-4, DEFAULT),
    (1e-4, 1e-3, Lines(3.0, 0.0, 0.0)),  # 1k-10k cells, 3 ohm: nearly singular
    (1e-4, 1e-3, Lines(3.0, 500.0, 250.0)),
    (1e-8, 6e-4, Lines(0.1, 50.0, 25.0)),
]


def cells(low: float, high: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(CORNERS), st.integers(0, 2**32 - 1))
def test_small_arrays_agree_with_nodal_analysis(
    rows: int, cols: int, corner: tuple[float, float, Lines], seed: int
) -> None:
    low, high, lines = corner
    conductances = cells(low, high, (rows, cols), seed)
    currents, across = nodal.solution(conductances, lines)
    solved = wires.solve(conductances, lines)
    np.testing.assert_allclose(solved.transconductance, currents, rtol=1e-9)
    np.testing.assert_allclose(solved.all_on, across.sum(axis=2), rtol=1e-9)


@pytest.mark.parametrize("corner", CORNERS)
def test_full_arrays_agree_with_nodal_analysis(corner: tuple[float, float, Lines]) -> None:
    low, high, lines = corner
    conductances = cells(low, high, (64, 64))
    currents, across = nodal.solution(conductances, lines)
    solved = wires.solve(conductances, lines)
    np.testing.assert_allclose(solved.transconductance, currents, rtol=1e-9)
    np.testing.assert_allclose(solved.all_on, across.sum(axis=2), rtol=1e-9)
    own = np.stack([across[i, :, i] for i in range(64)])
    np.testing.assert_allclose(wires.own_row_voltages(conductances, lines), own, rtol=0.02)


@pytest.mark.parametrize("corner", CORNERS)
def test_both_orders_of_summing_agree_far_within_the_rounding_margin(
    corner: tuple[float, float, Lines],
) -> None:
    low, high, lines = corner
    conductances = cells(low, high, (64, 64), 1)
    fast = wires.solve(conductances, lines)
    slow = wires.solve_in_order(conductances, lines)
    np.testing.assert_allclose(fast.transconductance, slow.transconductance, rtol=1e-13)
    np.testing.assert_allclose(fast.all_on, slow.all_on, rtol=1e-13)


def test_doubtful_roundings_are_taken_from_the_ordered_sum() -> None:
    fast = np.array([2.5 + 1e-12, 3.2, 2.5 - 1e-6])
    assert wires.round_sure(fast, lambda: np.array([2.4, 9.0, 9.0]), 1.0).tolist() == [2, 3, 2]


def test_integers_are_within_half_a_unit_of_the_solve() -> None:
    conductances = cells(1e-7, 1.5e-4, (64, 64))
    exact = wires.solve_in_order(conductances, DEFAULT).transconductance / 1e-10
    integers = wires.solve_integers(conductances, DEFAULT, 1e-10).transconductance
    assert np.abs(integers - exact).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("lines", "all_150", "uniform", "differential"),
    [
        (Lines(1.0, 0.0, 0.0), 0.687, 0.807, 0.944),
        (Lines(1.0, 25.0, 10.0), 0.558, 0.710, 0.914),
        (Lines(1.0, 50.0, 25.0), 0.459, 0.625, 0.882),
        (Lines(0.5, 50.0, 25.0), 0.506, 0.668, 0.899),
    ],
)
def test_attenuation_of_products(lines: Lines, all_150: float, uniform: float, differential: float) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 32))
    weights *= 150e-6 / np.abs(weights).max()
    pairs = np.empty((64, 64))
    pairs[:, 0::2], pairs[:, 1::2] = np.maximum(weights, 0), np.maximum(-weights, 0)
    for siemens, expected in (
        (np.full((64, 64), 150e-6), all_150),
        (rng.uniform(0, 150e-6, (64, 64)), uniform),
        (pairs, differential),
    ):
        seen = wires.solve(siemens / (1 + 330 * siemens), lines).transconductance
        ratio = (seen.sum(axis=0) / siemens.sum(axis=0)).mean()
        assert ratio == pytest.approx(expected, rel=0.015)


def differential(rng: np.random.Generator) -> np.ndarray:
    weights = rng.standard_normal((64, 32))
    weights *= 150.0 / np.abs(weights).max()
    return np.stack((np.maximum(weights, 0), np.maximum(-weights, 0)), axis=2).reshape(64, 64)


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 63), (63, 0), (63, 63), (17, 40)])
def test_a_device_read_alone_sees_what_the_whole_network_would(row: int, col: int) -> None:
    """As inside write-and-verify: other rows float, only the selected column's gates are on."""
    us = np.random.default_rng(row + col).uniform(1, 150, (3, 64, 64))
    quiet = replace(preset("ideal"), wires=preset("good").wires)
    chip = VirtualChip(quiet, conductance=us * 1e-6)
    die = chip._die
    units = chip.conductance_units(0)
    cells = crossbar.cell_siemens(units, die.supply.milliohms / 1000)
    exact = nodal.read_alone(cells, DEFAULT, row, col) * die.supply.read_uv * 1e-6
    place, unit = (np.array([row]), np.array([col])), np.array([[float(units[row, col])]])
    current = Reads(die).series_current(0, *place, unit, die.supply.read_uv)
    assert current[0, 0] * CURRENT_UNIT == pytest.approx(exact, rel=1e-9)
    chip.set_gain(0, 2)
    code = int(chip.read_cells(0, row, col)[0, 0]) & 1023
    assert code == pytest.approx(16 + exact * 30_000 * 1023 / 3.5, abs=0.6)


def maps_of_noise(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Uniform, differential and all-150 µS conductances in µS."""
    return rng.uniform(0, 150, (64, 64)), differential(rng), np.full((64, 64), 150.0)


def test_column_noise_is_that_of_every_cell_fluctuating_behind_its_wires() -> None:
    """Exact first order: a cell counts with its own voltage times its adjoint voltage, squared.

    Within 1 % in 99 of 100 columns and within 3 % in 9998 of 10 000: what is left are columns where
    nearly all noise is one device's whose own row is off, and little.
    """
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2, (40, 64)).astype(float)
    bits[:8] = rng.random((8, 64)) < 0.2
    model, every = preset("good").wires, []
    for us in maps_of_noise(rng):
        cells = crossbar.cell_siemens(np.rint(us * 1e5).astype(np.int32), 330.0)
        voltages = cell_voltages(cells)
        for personality in (np.zeros((64, 64)), rng.standard_normal((64, 64))):
            sigma = device.fluctuation_us(preset("good").fluctuation, us, personality)
            sigma /= (1.0 + 330e-6 * us) ** 2
            noise = crossbar.Noise(sigma * 1e-6)
            maps = crossbar.product_map(model, cells, crossbar.solved(model, cells), noise, np.arange(64))
            assert maps.variance is not None
            drawn = np.sqrt(maps.variance.of(bits)) * 1e-10
            exact = exact_noise(voltages, sigma * 1e-6, bits)
            off = np.abs(drawn / exact - 1.0)[exact > 1e-9]  # below, 0.2 LSB at the highest gain
            assert np.median(off) < 0.003
            assert np.percentile(off, 99) < 0.01
            every.append(off)
    found = np.concatenate(every)
    assert np.mean(found > 0.03) <= 2e-4


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_column_noise_is_that_of_fluctuating_cells_solved_anew_each_time(kind: int) -> None:
    """Brute force: every cell drawn, the whole network solved; sigma over all columns, and the mean."""
    rng = np.random.default_rng(3)
    us = maps_of_noise(rng)[kind]
    units = np.rint(us * 1e5).astype(np.int32)
    cells = crossbar.cell_siemens(units, 330.0)
    sigma = device.fluctuation_us(preset("good").fluctuation, us, rng.standard_normal((64, 64)))
    bits = rng.integers(0, 2, (40, 64)).astype(float)
    model = preset("good").wires
    noise = crossbar.Noise(sigma * 1e-6 / (1.0 + 330e-6 * us) ** 2)
    maps = crossbar.product_map(model, cells, crossbar.solved(model, cells), noise, np.arange(64))
    assert maps.variance is not None
    seen = []
    for _ in range(150):
        drawn = np.abs(us + sigma * rng.standard_normal((64, 64)))
        now = crossbar.cell_siemens(np.rint(drawn * 1e5).astype(np.int32), 330.0)
        seen.append(bits @ wires.solve(now, DEFAULT).transconductance)
    expected = np.sqrt(maps.variance.of(bits)) * 1e-10
    ratio = np.std(seen, axis=0, ddof=1) / expected
    lsb = 3.5 / 1023 / 1000 / 0.2  # S, at the gain that holds such currents
    shift = (np.mean(seen, axis=0) - bits @ maps.currents * 1e-10) / lsb
    assert np.sqrt(np.mean(ratio**2)) == pytest.approx(1.0, abs=0.03)
    # 150 draws leave 0.02 to 0.03 LSB of chance in each mean
    assert abs(shift.mean()) < 0.01
    assert np.sqrt(np.mean(shift**2)) < 0.05


def cell_voltages(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voltages (cells, rows) across cells per row volt and (cells, cols) per volt at a TIA."""
    _, across = nodal.solution(cells, DEFAULT)
    turned = Lines(DEFAULT.segment, DEFAULT.tia, DEFAULT.driver)
    _, adjoint = nodal.solution(np.ascontiguousarray(cells[::-1, ::-1].T), turned)
    adjoint = adjoint[::-1, ::-1, ::-1].transpose(1, 0, 2)
    return across.reshape(4096, 64), adjoint.reshape(4096, 64)


def exact_noise(voltages: tuple[np.ndarray, np.ndarray], sigma: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Standard deviation (vectors, cols) of column current per volt, to first order in sigma."""
    across, adjoint = voltages
    volts = across @ bits.T
    return np.sqrt((sigma.reshape(4096, 1) * volts).T ** 2 @ adjoint**2)
