"""The group's earlier call surface: the same names and shapes, and none of the slips."""

import re
from pathlib import Path

import numpy as np
import pytest

from chipctl.dpe import DPE, TuneResult
from chipctl.errors import OutcomeUnknown

MASK = np.zeros((64, 64))
MASK[4:8, 4:8] = 1
CONDUCTANCE = np.random.default_rng(3).uniform(5e-6, 100e-6, (64, 64))


@pytest.fixture
def dpe(make_chip):
    return DPE(make_chip("ideal", conductance=CONDUCTANCE))


@pytest.mark.parametrize("method", ["slow", "fast"])
def test_both_ways_of_reading_show_the_conductances(dpe, method):
    found = dpe.read(0, method=method)
    assert found.shape == dpe.shape == (64, 64)
    np.testing.assert_allclose(found, CONDUCTANCE, atol=1e-6)


def test_a_single_read_shows_the_selected_devices_and_zero_elsewhere(dpe):
    found = dpe.read(0, method="single", Msel=MASK)
    np.testing.assert_allclose(found, CONDUCTANCE * MASK, atol=1e-6)


@pytest.mark.parametrize("mode", [0, 1])
def test_a_product_is_the_matrix_times_the_input_by_shifts_and_by_unary_pulses(dpe, mode):
    vectors = np.random.default_rng(4).integers(0, 9, (20, 5)) / 8
    expected = vectors.T @ CONDUCTANCE[10:30, 2:16]
    found = dpe.multiply(0, vectors, c_sel=[2, 16], r_start=10, mode=mode, Tdly=500)
    assert found.shape == (5, 14)
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())


def test_one_vector_gives_one_row(dpe):
    vector = np.linspace(0, 1, 64)
    np.testing.assert_array_equal(dpe.multiply(0, vector), dpe.multiply(0, vector[:, None])[0])


def test_columns_are_corrected_by_a_line_each():
    corrected = DPE.lin_corr([[1.0, 2.0], [3.0, 4.0]], [(2.0, 0.5), (10.0, -1.0)])
    assert corrected.tolist() == [[2.5, 19.0], [6.5, 39.0]]


def test_pulses_move_what_is_selected_and_leave_the_callers_arrays_alone(dpe):
    volts, gates, mask = np.full((64, 64), 2.5), np.full((64, 64), 1.2), MASK.copy()
    before = dpe.read(0)
    assert dpe.set(0, volts, gates, mask, Twidth=1e-6) == 16
    moved = dpe.read(0) - before
    assert (moved[MASK > 0] > 1e-6).any()
    assert np.abs(moved[MASK == 0]).max() < 1e-6
    assert (volts == 2.5).all()
    assert (gates == 1.2).all()
    np.testing.assert_array_equal(mask, MASK)
    assert dpe.reset(0, 2.0, 5.0, MASK, Twidth=1e-6) == 16
    assert (dpe.read(0) - before)[MASK > 0].mean() < moved[MASK > 0].mean()


def test_where_a_map_of_voltages_is_zero_there_is_no_pulse(dpe):
    assert dpe.set(0, 1.5 * MASK, 1.0) == 16
    assert dpe.set(0, 0 * MASK, 1.0) == 0
    assert dpe.chip.board.state().total_pulses == 16


def tuned(dpe, target=50e-6, **options):
    asked = {"Gtol_in": 4e-6, "Gtol_out": 10e-6, "Msel": MASK, "Twidth": 1e-6, "vSetRamp": [1, 3, 0.25]}
    return dpe.tune_conductance(0, np.full((64, 64), target), **(asked | options))


def test_tuning_reaches_its_tolerance_and_touches_nothing_else(make_chip):
    dpe = DPE(make_chip("good", seed=6))
    before = dpe.chip.truth.conductance_units(0)
    result = tuned(dpe, vResetRamp=[0.3, 2.2, 0.05], maxSteps=300)
    assert result.share_within[1] > 0.8
    np.testing.assert_array_equal(dpe.chip.truth.conductance_units(0)[MASK == 0], before[MASK == 0])
    assert (dpe.chip.truth.pulse_counts(0)[MASK == 0] == 0).all()


def test_the_result_unpacks_by_the_earlier_names(dpe):
    result = tuned(dpe, target=CONDUCTANCE[4, 4], Gtol_in=1.0, Gtol_out=1.0)
    assert isinstance(result, TuneResult)
    assert result["Gread"] is result.Gread
    assert result["s"] == 0
    assert {"Gread", "Gtarget", "Msel", "Mset", "Mreset", "Mbound", "hist_data"} <= set(dict(**result))
    with pytest.raises(KeyError, match="there are Gread"):
        result["Gnothing"]


def test_the_reset_voltage_starts_at_its_own_ramp_after_a_gate_step(make_chip):
    dpe = DPE(make_chip("ideal", conductance=120e-6))
    ramps = {"vResetRamp": [0.3, 0.4, 0.05], "vGateResetRamp": [5.0, 5.5, 0.5], "vSetRamp": [1, 1, 1]}
    result = tuned(dpe, target=10e-6, saveHistory=True, maxSteps=20, maxRetry=2, **ramps)
    given = [round(float(volts[4, 4]), 2) for volts in result.hist_data["vResetHist"]]
    gates = [float(gate[4, 4]) for gate in result.hist_data["vGateResetHist"]]
    assert given[:7] == [0.3, 0.35, 0.4, 0.3, 0.35, 0.4, 0.4]
    assert gates[:7] == [5.0, 5.0, 5.0, 5.5, 5.5, 5.5, 5.5]
    assert result.Mbound[4, 4] == 3
    assert dpe.chip.truth.pulse_counts(0)[4, 4] == 8


def test_a_batch_without_an_answer_is_settled_by_the_next_read(make_chip, monkeypatch):
    dpe, lost = DPE(make_chip("ideal", conductance=20e-6)), []
    pulse_map = dpe.chip.board.pulse_map

    def silent_once(*asked):
        given = pulse_map(*asked)
        if not lost:
            lost.append(asked)
            raise OutcomeUnknown("no answer")
        return given

    monkeypatch.setattr(dpe.chip.board, "pulse_map", silent_once)
    result = tuned(dpe)
    assert result.unknown == 1
    assert result.share_within[1] > 0.8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda dpe: dpe.multiply(0, [[1.2]]), r"\[0, 1\]"),
        (lambda dpe: dpe.multiply(0, np.zeros((64, 1)), r_start=1), "no such lines"),
        (lambda dpe: dpe.read(0, Vread=0.3), "read at 0.2 V"),
        (lambda dpe: dpe.read(0, method="quick"), "slow, fast or single"),
        (lambda dpe: dpe.set(0, 9.0, 1.0), "limit of"),
        (lambda dpe: dpe.set(0, 1.0, 1.0, Twidth=5e-9), "shorter"),
        (lambda dpe: dpe.set_clock(30), "divides 100"),
        (lambda dpe: tuned(dpe, vResetRamp=[0.3, 9.0, 0.1]), "limit of"),
        (lambda dpe: tuned(dpe, gtol=1e-6), "no option gtol"),
    ],
)
def test_what_cannot_be_is_refused_before_a_pulse(dpe, call, words):
    with pytest.raises(ValueError, match=words):
        call(dpe)
    assert dpe.chip.board.state().total_pulses == 0


def test_the_session_of_the_migration_page_runs_and_reaches_its_targets():
    page = Path(__file__).parents[2] / "docs" / "a0-migration.md"
    (session,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(session, names)
    names["dpe"].close()
    assert names["result"].share_within[1] > 0.8
    off = names["corrected"] - names["expected"]
    assert np.sqrt(np.mean(off**2)) < 0.05 * names["expected"].mean()


def test_the_name_of_a_port_is_that_of_an_a0_board():
    with pytest.raises(Exception, match="no such port"):
        DPE("/dev/no-such-port").read(0)


def test_old_code_runs_on_a_virtual_a0_board():
    dpe = DPE("a0+sim://?preset=ideal")
    dpe.set_clock(50)
    with dpe:
        assert dpe.read(1, method="fast").shape == dpe.shape
    assert dpe.read(1, method="slow", Tdly=500).shape == (64, 64)
    dpe.power_off()
    dpe.close()
