"""A profile that calibration left is all a twin needs: formats of both sides, held together by the wire."""

from dataclasses import replace

import numpy as np
import pytest

from chipctl.chip import connect
from chipctl.fault_map import FaultKind, FaultMap
from sim_chip.presets import preset

SEED = 5
KIND = replace(preset("good"), name="hidden")


@pytest.fixture
def original(make_bench, calibrated, pairs_map):
    """A calibrated chip that holds a map, with one device known to be stuck."""
    bench = make_bench(KIND, SEED, conductance=None)
    chip = bench.chip
    calibrated(bench, "rails", "adcs", "zeros", "gate")
    faults = FaultMap.none(64, 64)
    faults.kinds[7, 7], faults.conductance[7, 7] = FaultKind.STUCK_HIGH, 2.4e-4
    chip.profile.set_fault_map(0, faults)
    return bench


def test_a_twin_has_its_originals_converters_and_stuck_devices(original, tmp_path):
    chip = original.chip
    chip.profile.save(tmp_path / "chip.json")
    with connect(f"sim://?profile={tmp_path}/chip.json&seed=900") as copy:
        assert copy.arrays == chip.arrays
        assert copy.profile.serial != chip.profile.serial
        off = copy.measure_zero(0) - chip.measure_zero(0)
        assert np.std(chip.measure_zero(0)) > 1.0
        assert np.sqrt(np.mean(off**2)) < 0.2
        assert copy.read(0, reads=16)[7, 7] == pytest.approx(2.4e-4, rel=0.02)


def test_products_of_twin_and_original_agree_within_the_noise_of_one(original, tmp_path):
    chip, rng = original.chip, np.random.default_rng(1)
    chip.profile.set_fault_map(0, FaultMap.none(64, 64))
    chip.profile.save(tmp_path / "chip.json")
    np.save(tmp_path / "map.npy", np.broadcast_to(chip.read(0, reads=64), (3, 64, 64)))
    vectors = 0.2 * (rng.random((30, 64)) < 0.5)
    address = f"sim://?profile={tmp_path}/chip.json&readback={tmp_path}/map.npy&seed=900"
    with connect(address) as copy:
        copy.measure_zero(0)
        its = copy.multiply(0, vectors, reads=64, gain=1)
    own = chip.multiply(0, vectors, reads=64, gain=1)
    singles = [chip.multiply(0, vectors, gain=1) for _ in range(16)]
    noise = np.sqrt(np.mean(np.var(singles, axis=0, ddof=1)))
    chip.profile.arrays[0].calibration.clear()
    assert np.sqrt(np.mean((its - own) ** 2)) < noise
