"""Draws and elementary functions: right in distribution and in value."""

from __future__ import annotations

import numpy as np
import pytest

from sim_chip import elementary, random
from sim_chip.random import Purpose


def test_normals_are_standard_normal() -> None:
    key = random.stream(1, Purpose.PRODUCT, 0)
    drawn = random.normals(random.words(key, np.arange(100_000)))
    assert drawn.mean() == pytest.approx(0.0, abs=0.006)
    assert drawn.std() == pytest.approx(1.0, abs=0.004)
    assert np.mean(np.abs(drawn) > 2.0) == pytest.approx(0.0455, abs=0.002)
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(4, 1)]).max() < 0.015
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.015


def test_the_table_is_symmetric_with_unit_variance() -> None:
    assert np.array_equal(random.NORMALS, -random.NORMALS[::-1])
    assert np.mean(random.NORMALS**2) == pytest.approx(1.0, abs=1e-6)


def test_single_lanes_are_those_of_all_four() -> None:
    drawn = random.words(7, np.arange(50))
    lanes = np.stack([random.normal(drawn, lane) for lane in range(4)], axis=-1)
    assert np.array_equal(lanes, random.normals(drawn))


def test_the_hash_is_splitmix64() -> None:
    # Reference output of splitmix64 seeded with 1234567 (Vigna)
    drawn = random.words(1234567, np.arange(1, 4))
    assert drawn.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_streams_of_different_purpose_array_or_seed_differ() -> None:
    keys = {
        random.stream(seed, purpose, array) for seed in range(20) for purpose in Purpose for array in range(6)
    }
    assert len(keys) == 20 * len(Purpose) * 6


def test_elementary_functions_are_right() -> None:
    x = np.concatenate((np.linspace(-30, 30, 4001), np.linspace(-1e-3, 1e-3, 101)))
    np.testing.assert_allclose(elementary.exp(x), np.exp(x), rtol=1e-15)
    y = np.geomspace(1e-12, 1e12, 5001)
    np.testing.assert_allclose(elementary.ln(y), np.log(y), rtol=1e-15, atol=1e-15)
    z = np.linspace(-3, 3, 3001)
    np.testing.assert_allclose(elementary.sin_turns(z), np.sin(2 * np.pi * z), atol=1e-14)


def test_elementary_functions_keep_their_bits() -> None:
    x = np.linspace(0.01, 20, 1000)
    bits = sum(int(f(x).view(np.uint64).sum()) for f in (elementary.exp, elementary.ln))
    assert bits % 2**64 == GOLDEN_BITS


GOLDEN_BITS = 4028746587156971606
