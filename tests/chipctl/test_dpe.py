"""The group's earlier call surface: the same names and shapes, and none of the slips."""

import io
import logging
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

from chipctl.a0_board import A0Board, A0Place
from chipctl.chip import Chip
from chipctl.dpe import DPE, TuneResult, Tuning
from chipctl.errors import OutcomeUnknown
from sim_chip.a0_mcu import A0Mcu
from sim_chip.chip import VirtualChip
from sim_chip.presets import preset
from sim_chip.server import Endpoint

MASK = np.zeros((64, 64))
MASK[4:8, 4:8] = 1
CONDUCTANCE = np.random.default_rng(3).uniform(5e-6, 100e-6, (64, 64))


@pytest.fixture
def dpe(make_chip):
    return DPE(make_chip("ideal", conductance=CONDUCTANCE))


@pytest.fixture(params=["native", "a0"])
def either(request, make_chip):
    """The same ideal chip behind the native board and behind an A0 board."""
    if request.param == "native":
        yield DPE(make_chip("ideal", conductance=CONDUCTANCE))
        return
    mcu = A0Mcu(VirtualChip(preset("ideal"), conductance=np.broadcast_to(CONDUCTANCE, (3, 64, 64))))
    line = Endpoint("a0", SimpleNamespace(mcu=mcu, close=mcu.power_down))
    with A0Board(A0Place("a0"), lambda: line).session() as board:
        yield DPE(Chip(board))


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
    lines = [np.array([2.0, 0.5, 9.0]), np.array([10.0, -1.0, 9.0]), np.array([0.0, 0.0, 0.0])]
    assert DPE.lin_corr(np.array([1.0, 2.0]), lines).tolist() == [2.5, 19.0]
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


OF_THE_EARLIER_RESULT = set(
    re.findall(
        r"\w+",
        """array Gtarget Gread Msel Mset Mreset Mbound numLeft s vSet vGateSet vReset vGateReset hist_data
        vSetRamp vGateSetRamp vResetRamp vGateResetRamp Gtol Gtol_in Gtol_out GtolType maxSteps maxRetry
        numReads method Tdly Twidth TwidthSet TwidthReset saveHistory""",
    )
)


def test_the_result_is_a_dictionary_of_all_the_earlier_names(dpe):
    options = {"maxSteps": 3, "maxRetry": 2, "TwidthReset": 2e-6, "saveHistory": True}
    result = tuned(dpe, **options)
    assert isinstance(result, TuneResult)
    assert isinstance(result, dict)
    assert set(dict(**result)) - {"unknown"} == OF_THE_EARLIER_RESULT
    assert result["Gread"] is result.Gread
    assert {name: result[name] for name in options} == options
    assert (result["TwidthSet"], result["Gtol_in"], result["vSetRamp"]) == (1e-6, 4e-6, [1, 3, 0.25])
    assert (result["array"], result["s"], result["Gtol"]) == (0, 3, Tuning.Gtol)
    assert result["numLeft"] == (result["Mset"] + result["Mreset"]).sum() > 0


def test_what_a_result_has_not_is_said_with_what_it_has(dpe):
    result = tuned(dpe, maxSteps=0)
    for name in ("Gnothing", "hist_data"):
        with pytest.raises(KeyError, match=r"there are .*Gread.*saveHistory=True"):
            result[name]
        with pytest.raises(AttributeError, match=r"it has .*Gread"):
            getattr(result, name)
    assert "hist_data" not in result


def test_a_run_that_had_nothing_to_do_has_histories_of_no_step(dpe):
    result = dpe.tune_conductance(0, CONDUCTANCE, Gtol=5e-6, saveHistory=True)
    assert (result.s, result["Ghist"], result["vGateResetHist"]) == (0, [], [])


def test_a_result_can_be_kept_in_the_files_that_analysis_code_writes(dpe):
    result = tuned(dpe, maxSteps=2, saveHistory=True, plot_callback=lambda history: None)
    savemat(io.BytesIO(), result)
    kept = pickle.loads(pickle.dumps(result))
    assert kept.keys() == result.keys()
    np.testing.assert_array_equal(kept.hist_data["Ghist"], result["Ghist"])
    assert kept.share_within == result.share_within


def test_masks_of_the_result_are_in_the_numbers_of_the_callers_mask(dpe):
    result = tuned(dpe, maxSteps=0)
    assert (result["Mset"] - result["Mreset"]).sum() == (CONDUCTANCE < 46e-6)[MASK > 0].sum() - (
        (CONDUCTANCE > 54e-6)[MASK > 0].sum()
    )
    chosen = tuned(dpe, Msel=MASK.astype(bool), maxSteps=0)
    assert chosen["Gread"][chosen["Mset"]].max() < 46e-6


def test_relative_tolerances_are_shares_of_the_target(dpe):
    target = np.linspace(10e-6, 90e-6, 64 * 64).reshape(64, 64)
    result = dpe.tune_conductance(0, target, Gtol_in=0.05, Gtol_out=0.2, GtolType="rel", maxSteps=0)
    np.testing.assert_allclose(result.Gtol_in, 0.05 * target)
    np.testing.assert_allclose(result["Gtol_out"], 0.2 * target)
    np.testing.assert_array_equal(result.Mset > 0, result.Gread < 0.95 * target)


def test_the_reset_voltage_starts_at_its_own_ramp_after_a_gate_step(make_chip):
    dpe = DPE(make_chip("ideal", conductance=120e-6))
    ramps = {"vResetRamp": [0.3, 0.4, 0.05], "vGateResetRamp": [5.0, 5.5, 0.5], "vSetRamp": [1, 1, 1]}
    result = tuned(dpe, target=10e-6, saveHistory=True, maxSteps=20, maxRetry=2, **ramps)
    given = [round(float(volts[4, 4]), 2) for volts in result.hist_data["vResetHist"]]
    gates = [float(gate[4, 4]) for gate in result.hist_data["vGateResetHist"]]
    assert given[:7] == [0.3, 0.35, 0.4, 0.3, 0.35, 0.4, 0.4]
    assert gates == [5.0, 5.0, 5.0, 5.5, 5.5, 5.5, 5.5, 5.5, 0.0]
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
        (lambda dpe: tuned(dpe, vResetRamp=[1.5, 0.3, 0.1]), "rising"),
        (lambda dpe: tuned(dpe, GtolType="share"), "abs or rel"),
        (lambda dpe: tuned(dpe, TwidthSet=0.0), "shorter"),
        (lambda dpe: dpe.multiply(0, [[np.nan]]), r"\[0, 1\]"),
        (lambda dpe: dpe.multiply(0, [[0.5]], c_sel=[60, 65]), "no such lines"),
        (lambda dpe: dpe.multiply(0, [[0.5]], mode=2), "mode is 0"),
        (lambda dpe: dpe.vec2ints(np.ones(60), start=5), "64 rows"),
        (lambda dpe: dpe.get_col_en([0, 65]), "64 columns"),
        (lambda dpe: dpe.lin_corr(np.ones((2, 3)), [(1, 0), (1, 0)]), "3 columns"),
        (lambda dpe: dpe.lin_corr(np.ones((2, 1)), [(1,)]), "1 columns"),
        (lambda dpe: tuned(dpe, target=50), "in S: 50 S is above 1 mS"),
        (lambda dpe: tuned(dpe, Gtol_in=4), "in S: 4 S is above 1 mS"),
        (lambda dpe: tuned(dpe, target=np.nan), "no number"),
        (lambda dpe: tuned(dpe, Gtol_out=-1e-6), "0 or more"),
        (lambda dpe: tuned(dpe, Gtol_in=np.nan), "0 or more"),
        (lambda dpe: tuned(dpe, maxSteps=-1), "number of steps"),
        (lambda dpe: tuned(dpe, Msel=np.ones(64)), r"Msel is .* shape \(64, 64\), not of \(64,\)"),
        (lambda dpe: tuned(dpe, vSetRamp=[1, 3]), r"\(first, last, step\)"),
        (lambda dpe: tuned(dpe, Twidth=np.nan), "number of seconds"),
        (lambda dpe: dpe.read(0, method="single", Msel=np.ones((3, 3))), r"Msel is .* not of \(3, 3\)"),
        (lambda dpe: dpe.multiply(0, np.zeros((4, 0))), r"\(inputs, vectors\) or \(inputs,\)"),
        (lambda dpe: dpe.multiply_w_delay(0, np.zeros((4, 0))), r"\(inputs, vectors\)"),
        (lambda dpe: dpe.multiply(0, np.zeros((2, 2, 2))), r"\(inputs, vectors\)"),
        (lambda dpe: dpe.multiply(0, [[0.5]], c_sel=[0.5, 2]), "whole numbers"),
        (lambda dpe: dpe.multiply(0, [[0.5]], c_sel=[0, 1, 2]), "whole numbers"),
        (lambda dpe: dpe.set(0, np.where(MASK, np.nan, 1.0), 1.0), "no number"),
        (lambda dpe: dpe.set(0, 1.0, np.nan, MASK), "no number"),
        (lambda dpe: dpe.reset(0, 1.0, 5.0, np.ones(64)), "the mask is a number or a map"),
    ],
)
def test_what_cannot_be_is_refused_before_a_pulse(dpe, call, words):
    with pytest.raises(ValueError, match=words):
        call(dpe)
    assert dpe.chip.board.state().total_pulses == 0


VECTORS = np.random.default_rng(5).integers(0, 256, (20, 3)) / 255
EXPECTED = VECTORS.T @ CONDUCTANCE[:20]
FACTORS = [(2.0, 1e-6)] * 64
RAMPS = {
    "vSetRamp": [1, 3, 0.25],
    "vGateSetRamp": [0.5, 1.4, 0.05],
    "vResetRamp": [0.3, 2.2, 0.05],
    "vGateResetRamp": [5.0, 5.5, 0.5],
}


def signed(dpe):
    """The product of inputs of both signs, as two."""
    both = VECTORS - VECTORS[::-1]
    up = dpe.multiply(0, np.clip(both, 0, None), c_sel=[0, 64], r_start=0, mode=0, Tdly=500)
    down = dpe.multiply(0, np.clip(-both, 0, None), c_sel=[0, 64], r_start=0, mode=0, Tdly=500)
    return up - down, (VECTORS - VECTORS[::-1]).T @ CONDUCTANCE[:20]


def one_column_at_a_time(dpe):
    """Neurons of a network one after another, inputs of one pulse."""
    dpe.N_BIT = 1
    pulses, col = np.rint(VECTORS), np.int64(7)
    output = dpe.multiply_w_delay(2, pulses, c_sel=[col, col + 1], mode=1, debug=False, delay=5)
    return dpe.lin_corr(output, np.array(FACTORS)), 2 * (pulses.T @ CONDUCTANCE[:20])[:, 7:8] + 1e-6


def plane_by_plane(dpe):
    """A product from its bits, each of which is read as a vector of its own."""
    planes = dpe.binarize_shift(VECTORS)
    outputs = [dpe.multiply(0, plane, c_sel=(0, 64)) for plane in planes]
    return dpe.shift_n_add(outputs), EXPECTED


READ = CONDUCTANCE
CALLS = {
    "read": lambda dpe: (dpe.read(0), READ),
    "read, by place": lambda dpe: (dpe.read(0, 0.2, -1, "fast", 2), READ),
    "read, slowly": lambda dpe: (dpe.read(1, method="slow", Tdly=500, numReads=2), READ),
    "read, at one gain": lambda dpe: (dpe.read(2, Vread=0.2, gain=2, method="fast", Tdly=1000), READ),
    "read, some": lambda dpe: (dpe.read(0, method="single", Msel=MASK, gain=-1), READ * MASK),
    "multiply": lambda dpe: (dpe.multiply(0, VECTORS), EXPECTED[:, :14]),
    "multiply, below": lambda dpe: (
        dpe.multiply(0, VECTORS, r_start=30, c_sel=[8, 22], Tdly=500),
        VECTORS.T @ CONDUCTANCE[30:50, 8:22],
    ),
    "multiply, one vector": lambda dpe: (dpe.multiply(0, VECTORS[:, :1], c_sel=[0, 20]), EXPECTED[:1, :20]),
    "multiply, unary": lambda dpe: (dpe.multiply(0, np.rint(VECTORS), 0, [0, 64], 1, 1), EXPECTED_BITS),
    "multiply, signed": signed,
    "multiply, corrected": lambda dpe: (
        dpe.lin_corr(dpe.multiply(0, VECTORS, c_sel=[0, 10]), FACTORS),
        2 * EXPECTED[:, :10] + 1e-6,
    ),
    "multiply, with rests": lambda dpe: (
        dpe.multiply_w_delay(0, VECTORS, 0, [0, 64], 0, delay=1, gain=1, Vread=0.2),
        EXPECTED,
    ),
    "a neuron": one_column_at_a_time,
    "bits": plane_by_plane,
}
EXPECTED_BITS = np.rint(VECTORS).T @ CONDUCTANCE[:20]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_analysis_code_asks_it_gets_from_either_board(either, call):
    found, expected = call(either)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_a_session_of_pulses_runs_on_either_board(either):
    before = either.read(0)
    either.set(0, 1.5, 1.0, mask=MASK, Twidth=40e-9, verbose=True)
    either.reset(array=0, Vreset=np.ones((64, 64)), Vgate=5 * np.ones((64, 64)), mask=MASK, Twidth=10e-6)
    shown = []
    result = either.tune_conductance(
        0,
        np.full(either.shape, 50e-6),
        Msel=MASK,
        Gtol=5e-6,
        Gtol_out=20e-6,
        maxSteps=60,
        maxRetry=5,
        Tdly=500,
        numReads=1,
        method="fast",
        saveHistory=True,
        plot_callback=lambda history: shown.append(len(history["Ghist"])),
        TwidthSet=2e-6,
        TwidthReset=2e-6,
        **RAMPS,
    )
    off = np.abs(result["Gread"] - result["Gtarget"])[result["Msel"] == 1]
    assert (off < result["Gtol_out"]).mean() > 0.8
    assert np.abs(result["Gread"] - before)[MASK == 0].max() < 2e-6
    assert np.array(result["hist_data"]["vGateSetHist"]).shape == (result["s"], 64, 64)
    assert shown == list(range(1, result["s"] + 1))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bits_and_pulses_of_inputs_add_up_to_the_inputs(bits):
    dpe = DPE()
    dpe.N_BIT = bits
    for planes, add, most in (
        (dpe.binarize_shift(VECTORS), dpe.shift_n_add, 2**bits - 1),
        (dpe.binarize_unary(VECTORS), dpe.unary_sum, bits),
    ):
        assert planes.shape == (bits, 20, 3)
        assert set(np.unique(planes)) <= {0, 1}
        np.testing.assert_allclose(add(planes), np.rint(VECTORS * most) / most)


def test_words_of_rows_and_columns_are_those_that_the_chip_loads():
    assert DPE.vec2ints([1, 0, 1, 1]) == 0b1101
    assert DPE.vec2ints([1, 0, 1], start=61) == 5 << 61
    assert DPE.get_col_en() == [0, 0, 0, 0x3FFF]
    assert DPE.get_col_en([15, 34]) == [0, 0b11, 0xFFFF, 0x8000]
    assert DPE.get_col_en([0, 64]) == [0xFFFF] * 4


@pytest.mark.parametrize("bits", [0, -1, 33, 1.5])
def test_inputs_have_one_to_32_bits(dpe, bits):
    dpe.N_BIT = bits
    for call in (dpe.binarize_shift, lambda inputs: dpe.multiply(0, inputs)):
        with pytest.raises(ValueError, match="N_BIT is 1 to 32 bits"):
            call([[0.5]])


def test_the_longest_width_that_is_timed_and_not_above_the_one_asked_for_is_given(dpe):
    fine = dpe.chip.board.info.fine_width_ns * 1e-9
    assert dpe.on_grid(fine + 10e-9) == pytest.approx(fine)
    assert dpe.on_grid(20e-6 + 900e-9) == pytest.approx(20e-6)
    assert dpe.on_grid(57e-9) == pytest.approx(40e-9)


def test_what_is_asked_of_devices_that_are_not_chosen_does_not_matter(dpe):
    target = np.where(MASK, 50e-6, np.nan)
    assert dpe.tune_conductance(0, target, Msel=MASK, Gtol=1e-4, Gtol_out=np.inf).s == 0
    assert dpe.set(0, np.where(MASK, 1.0, np.nan), 1.0, MASK) == 16


def test_a_dpe_of_nothing_is_refused():
    with pytest.raises(TypeError, match="address or an open chip, not of None"):
        DPE(None)


def test_inputs_that_round_to_the_ends_are_within():
    beyond = np.array([[-1e-9, 1 + 1e-9]])
    assert DPE().binarize_shift(beyond).sum(axis=0).tolist() == [[0, 8]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda dpe: dpe.set(0, 1.0, 1.0, mask=0, Twdith=1e-6), "no keyword Twdith; did you mean Twidth"),
        (lambda dpe: dpe.reset(0, Vreset=1.0, Vgate=1.0, msk=0), "no keyword msk; did you mean mask"),
        (lambda dpe: tuned(dpe, gtol_in=1e-6), "no keyword gtol_in; did you mean Gtol_in"),
        (lambda dpe: tuned(dpe, vResetramps=[0.3, 1, 0.1]), "did you mean vResetRamp"),
    ],
)
def test_a_misspelt_keyword_gives_no_pulse_but_the_name_that_was_meant(dpe, call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call(dpe)
    assert dpe.chip.board.state().total_pulses == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda dpe: dpe.read(0, Vref=0.5), r"read\(\) takes no notice of Vref"),
        (lambda dpe: dpe.multiply(0, VECTORS, tdly=500), "of tdly; did you mean Tdly"),
        (lambda dpe: dpe.multiply_w_delay(0, VECTORS[:, :1], Tsh=12), "of Tsh"),
        (lambda dpe: tuned(dpe, maxSteps=0, TargetYield=95), "of TargetYield"),
    ],
)
def test_a_keyword_that_calls_always_passed_over_is_warned_of(dpe, call, words):
    with pytest.warns(UserWarning, match=words) as warned:
        call(dpe)
    assert warned[0].filename == __file__


def test_progress_goes_to_the_log(dpe, caplog):
    with caplog.at_level(logging.INFO, "chipctl"):
        tuned(dpe, maxSteps=2)
        dpe.multiply_w_delay(0, VECTORS, debug=True, delay=0)
    assert re.fullmatch(r"step 0: \d+ devices left", caplog.messages[0])
    assert caplog.messages[-1] == "vector 0"


def test_the_pins_of_the_earlier_object_are_not_there_and_it_says_what_is():
    with pytest.raises(AttributeError, match=r"DPE\.chip"):
        DPE().a0.pic_read_single(array=0, row=1, col=2)


def test_the_python_of_the_migration_page_runs_and_reaches_its_targets(capsys):
    page = Path(__file__).parents[2] / "docs" / "a0-migration.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    names["dpe"].close()
    assert names["result"].share_within[1] > 0.8
    off = names["corrected"] - names["expected"]
    assert np.sqrt(np.mean(off**2)) < 0.05 * names["expected"].mean()
    assert "left after" in capsys.readouterr().out
    assert names["amps"][2] == pytest.approx(names["siemens"] * names["volts"], rel=0.1)
    assert names["pulses"] == 1
    assert names["levels"]["VP_PAD"] == pytest.approx(0, abs=1e-3)


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
