"""A twin takes from a profile what it needs, and a preset for the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim_chip.board import Board, Setup
from sim_chip.chip import VirtualChip
from sim_chip.converters import adc_deviations, column_offsets
from sim_chip.device import Kind, draw_traits
from sim_chip.faults import FaultPlan
from sim_chip.parameters import Spread
from sim_chip.presets import preset
from sim_chip.twin import Twin, twin

GOOD = preset("good")
SEED = 11


def result(verdict: str = "pass", **values: Any) -> dict[str, Any]:
    return {"verdict": verdict, "values": {name: {"value": value} for name, value in values.items()}}


GATE = result(threshold=0.8, threshold_spread=0.02, gain=900e-6, gain_spread=0.1, set_jitter=0.05)


def profile(**array: Any) -> dict[str, Any]:
    return {
        "serial": "chip-77",
        "rows": 64,
        "cols": 64,
        "arrays": {"0": array, "1": {}, "2": {}},
        "format": 2,
    }


@pytest.fixture
def made(tmp_path: Path) -> Any:
    def make(content: dict[str, Any]) -> Twin:
        path = tmp_path / "chip.json"
        path.write_text(json.dumps(content))
        return twin(path, GOOD, SEED)

    return make


def test_an_empty_profile_gives_the_preset_and_says_so(made: Any) -> None:
    found = made(profile())
    assert replace(found.parameters, name="good") == GOOD
    assert found.parameters.name == "twin-chip-77"
    assert all(source.endswith(": good") for source in found.sources)
    plain = VirtualChip(GOOD, SEED)._die.state.kinds
    assert np.array_equal(VirtualChip(found.parameters, SEED, faults=found.faults)._die.state.kinds, plain)


def test_stuck_devices_are_at_their_place_and_conductance_when_read(made: Any) -> None:
    stuck = [
        {"row": 3, "col": 5, "kind": 2, "siemens": 2.5e-4},
        {"row": 9, "col": 60, "kind": 3, "siemens": 7e-5},
        {"row": 60, "col": 0, "kind": 1, "siemens": -2e-7},
    ]
    found = made(profile(scanned="2026-01-01T00:00:00Z", stuck=stuck))
    chip = VirtualChip(found.parameters, SEED, faults=found.faults)
    kinds = chip._die.state.kinds.reshape(3, 64, 64)[0]
    assert {place: Kind(kinds[place]) for place in zip(*np.nonzero(kinds), strict=True)} == {
        (3, 5): Kind.STUCK_ON,
        (9, 60): Kind.STUCK_MIDDLE,
        (60, 0): Kind.STUCK_OFF,
    }
    w = found.parameters.wires
    own = chip._die.state.units.reshape(3, 64, 64)[0] * 1e-11
    for device in stuck[:2]:
        place = device["row"], device["col"]
        segments = device["col"] + 1 + 64 - device["row"]
        ohms = w.transistor_ohms + w.driver_ohms + w.tia_ohms + segments * w.segment_ohms
        assert 1 / (1 / own[place] + ohms) == pytest.approx(device["siemens"], rel=1e-4)
    assert own[60, 0] == 0.0
    assert kinds.any()
    assert chip._die.state.kinds[1].any()  # not scanned: as the preset draws


def test_converters_are_those_that_were_measured_others_as_drawn(made: Any) -> None:
    ideal = np.linspace(10.0, 1010.0, 65)
    excess = np.stack([a * np.sin(ideal / 150.0) for a in (1.0, -2.0, 0.5, 3.0)])
    zero = 16.0 + np.linspace(-3, 3, 64)
    adc = 2 * (np.arange(64) % 2) + np.arange(64) // 32
    seen = zero + np.array([np.interp(z, ideal, excess[a]) for z, a in zip(zero, adc, strict=True)])
    found = made(
        profile(
            calibration={
                "adcs": result(answered_codes=(ideal + excess).tolist(), excess_codes=excess.tolist()),
                "zeros": result(zero_codes=[seen.tolist()] * 5, noise_codes=[[0.8] * 64] * 5),
            }
        )
    )
    model = found.parameters.converters
    at = np.linspace(20.0, 1000.0, 200)
    measured = adc_deviations(model, SEED, 0, at)
    assert measured == pytest.approx(np.stack([np.interp(at, ideal, e) for e in excess]), abs=0.05)
    assert column_offsets(model, SEED, 0) == pytest.approx(zero - 16.0, abs=0.15)
    assert model.noise_lsb == pytest.approx(np.sqrt(0.64 - 1 / 12))
    assert column_offsets(model, SEED, 1) == pytest.approx(column_offsets(GOOD.converters, SEED, 1))
    drawn = adc_deviations(GOOD.converters, SEED, 2, at)
    assert adc_deviations(model, SEED, 2, at) == pytest.approx(drawn, abs=0.05)
    assert "ADC curves: profile (array 0)" in found.sources


def test_devices_of_the_twin_follow_the_measured_laws(made: Any) -> None:
    thresholds = result(
        reset_reference=1.0, reset_reference_spread=0.05, reset_steepness=8.0, reset_steepness_spread=0.3
    )
    found = made(profile(calibration={"gate": GATE, "thresholds": thresholds}))
    s = found.parameters.switching
    assert (s.threshold, s.set_jitter, s.reset_reference) == (Spread(0.8, 0.02), 0.05, Spread(1.0, 0.05))
    assert s.set_threshold == GOOD.switching.set_threshold
    (told,) = (source for source in found.sources if source.startswith("SET and RESET"))
    assert "not set_threshold, off_gap, set_softness" in told
    traits = draw_traits(found.parameters, SEED, 0)
    gain = traits.transconductance / (2 * traits.compliance_volts)
    assert np.median(gain) == pytest.approx(900, rel=0.01)
    assert np.std(np.log(gain)) == pytest.approx(0.1, rel=0.05)


def test_the_twin_reads_as_noisily_as_its_original(made: Any) -> None:
    found = made(profile(calibration={"fluctuation": result(slope=0.7, offset=-2.4, spread=0.6)}))
    law = found.parameters.fluctuation
    assert (law.slope, law.offset, law.spread) == (0.7, -2.4, 0.6)
    start = np.full((3, 64, 64), 30e-6)
    chip = VirtualChip(found.parameters, SEED, faults=FaultPlan(None), conductance=start)
    place = np.repeat(np.arange(64), 64), np.tile(np.arange(64), 64)
    chip.set_gain(0, 2)
    sigma = np.std([chip.read_cells(0, *place) & 1023 for _ in range(60)], axis=0)
    expected = np.exp(0.7 * np.log(30) - 2.4) / 0.57  # µS a code at 30 kΩ
    assert np.median(sigma) == pytest.approx(np.hypot(expected, 0.76), rel=0.12)


def test_a_result_outside_the_chips_limits_is_the_twins_too(made: Any) -> None:
    found = made(profile(calibration={"gate": GATE | {"verdict": "fail", "doubts": []}}))
    assert found.parameters.switching.threshold == Spread(0.8, 0.02)
    doubted = made(profile(calibration={"gate": GATE | {"doubts": ["odd: 1 of 1"], "verdict": "fail"}}))
    assert doubted.parameters.switching == GOOD.switching


def test_one_noisy_gain_is_not_the_noise_of_the_converter(made: Any) -> None:
    noise = [[0.8] * 64] * 4 + [[6.0] * 64]
    zeros = result(zero_codes=[[16.0] * 64] * 5, noise_codes=noise)
    model = made(profile(calibration={"zeros": zeros})).parameters.converters
    assert model.noise_lsb == pytest.approx(np.sqrt(0.64 - 1 / 12))


def test_results_that_failed_are_not_used_and_named(made: Any) -> None:
    found = made(profile(calibration={"gate": result("fail", threshold=0.9)}))
    assert found.parameters.switching == GOOD.switching
    assert "measured but in doubt, so not used: gate (array 0)" in found.sources


def test_readback_starts_devices_where_single_reads_show_it(made: Any) -> None:
    found = made(profile())
    readback = np.full((3, 64, 64), 100e-6)
    own = found.start(readback)
    assert 1 / (1 / own[0, 63, 0] + 330 + 75 + 2) == pytest.approx(100e-6)
    assert np.all(own > readback)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"serial": "x"}, "no chip profile at rows"),
        (profile() | {"rows": 128}, "arrays of 128×64"),
        (profile(calibration={"gate": result(threshold=0.8)}), "calibrate anew"),
        (
            profile(calibration={"lines": result(segment_ohms=9.0, driver_ohms=5.0, tia_ohms=5.0)}),
            "segment_ohms is 9; known from 0 to 5",
        ),
    ],
)
def test_a_file_that_makes_no_chip_is_refused_in_one_line(made: Any, content: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        made(content)
    assert "chip.json" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_twin_lives_in_its_state_file_and_needs_its_profile_there(tmp_path: Path) -> None:
    path, state = tmp_path / "chip.json", tmp_path / "chip.state"
    content = profile(calibration={"gate": result("fail")}, stuck=[])
    path.write_text(json.dumps(content))
    address = f"sim://?profile={path}&state={state}&seed=3"
    Board(Setup.from_address(address)).close()
    Board(Setup.from_address(address)).close()
    with pytest.raises(ValueError, match="holds another chip: preset twin-chip-77"):
        Board(Setup(seed=3, state=state))


def test_a_twin_brings_its_own_faults(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out either"):
        Setup(profile=tmp_path / "chip.json", faults=tmp_path / "faults.npz")
