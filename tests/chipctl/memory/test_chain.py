"""A recall inside the board is the host's own loop, state by state, on the same noise."""

import numpy as np
import pytest

from chipctl.errors import DeviceError, LinkError, LinkTimeout, MadeSafe
from chipctl.mapping import array_targets, place
from chipctl.memory.associative import AssociativeMemory
from chipctl.memory.learning import Layer, Robust, train
from chipctl.profile import FaultMap
from firmware_protocol.messages import GetJob, StartChain
from firmware_protocol.status import Fault
from sim_chip.mcu import VirtualMcu

PATTERNS = np.random.default_rng(3).choice([-1, 1], (6, 64)).astype(np.int8)
CUES = PATTERNS * np.where(np.random.default_rng(4).random(PATTERNS.shape) < 0.1, -1, 1).astype(np.int8)
SIZES = [(64, 64), (64, 16, 64), (64, 16, 24, 64), (80, 20, 80)]


def cues_of(patterns, number, seed=4):
    flips = np.random.default_rng(seed).random((number, patterns.shape[1])) < 0.2
    return np.where(flips, -1, 1).astype(np.int8) * np.resize(patterns, (number, patterns.shape[1]))


@pytest.fixture
def twins(make_chip):
    """The same noisy chip twice, holding the same trained layers."""

    def make(sizes, hidden):
        patterns = np.random.default_rng(5).choice([-1, 1], (6, sizes[0])).astype(np.int8)
        layers = train(patterns, sizes, rule=Robust(steps=100, hidden=hidden, seed=1)).layers
        placement = place(sizes, 3, 64, 64)
        healthy = {array: FaultMap.none(64, 64) for array in range(3)}
        conductance = np.zeros((3, 64, 64))
        for array, plan in array_targets(placement, [layer.weights for layer in layers], healthy).items():
            conductance[array] = plan.target
        chips = [make_chip("good", seed=6, conductance=conductance) for _ in range(2)]
        return patterns, [AssociativeMemory(chip, placement, layers, hidden) for chip in chips]

    return make


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("hidden", ["sign", "tanh"])
@pytest.mark.parametrize("sizes", SIZES)
def test_recall_on_the_board_is_the_hosts_bit_by_bit(twins, sizes, hidden, calibrated):
    patterns, (driven, on_board) = twins(sizes, hidden)
    cues = cues_of(patterns, 40)
    for memory in (driven, on_board) if calibrated else ():
        memory.calibrate(cues)

    wanted = driven.recall(cues, 8)
    found = on_board.recall(cues, 8, on_board=True)

    np.testing.assert_array_equal(found.states, wanted.states)
    np.testing.assert_array_equal(found.iterations, wanted.iterations)
    np.testing.assert_array_equal(found.settled, wanted.settled)
    np.testing.assert_allclose(found.energies, wanted.energies, rtol=1e-6, atol=1e-6)
    assert on_board.chip.book() == driven.chip.book()


@pytest.mark.parametrize("update", ["random", "sweep"])
@pytest.mark.parametrize("sizes", [(64, 64), (64, 16, 64), (80, 20, 80)])
def test_neurons_one_by_one_are_the_hosts_bit_by_bit(twins, sizes, update):
    patterns, (driven, on_board) = twins(sizes, "sign")
    cues = cues_of(patterns, 3)

    wanted = driven.recall(cues, 2, update=update, seed=3)
    found = on_board.recall(cues, 2, update=update, seed=3, on_board=True)

    np.testing.assert_array_equal(found.states, wanted.states)
    np.testing.assert_array_equal(found.iterations, wanted.iterations)
    np.testing.assert_array_equal(found.periods, wanted.periods)
    assert on_board.chip.book() == driven.chip.book()


def test_continuous_states_are_the_hosts_bit_by_bit(twins):
    patterns, memories = twins((64, 16, 64), "tanh")
    cues = np.clip(patterns[:4] * 0.4 + np.random.default_rng(2).normal(0, 0.3, (4, 64)), -1, 1)
    found = []
    for memory, on_board in zip(memories, (False, True), strict=True):
        memory.outputs = "tanh"
        memory.calibrate(cues)
        found.append(memory.recall(cues, 5, on_board=on_board))
    np.testing.assert_array_equal(found[0].states, found[1].states)
    np.testing.assert_array_equal(found[0].periods, found[1].periods)
    np.testing.assert_allclose(found[0].energies, found[1].energies)
    assert len(np.unique(found[0].final)) > 10


def test_a_sweep_goes_on_until_every_neuron_was_looked_at_and_none_changes(memory):
    cues = CUES[:3]
    found = memory.recall(cues, 10, update="sweep", seed=1)
    together = memory.recall(cues, 10)
    assert found.settled.all()
    np.testing.assert_array_equal(memory.recall(found.final).final, found.final)
    assert (found.iterations[found.iterations > 0] > together.iterations[found.iterations > 0]).all()
    for state, energies in zip(found.states, found.energies, strict=True):
        np.testing.assert_allclose(energies, -0.5 * (state * memory.fields(state)).sum(axis=1), rtol=0.02)


def test_an_update_of_one_neuron_converts_one_pair_of_columns(memory):
    before = memory.chip.book()
    found = memory.recall(CUES[:1], 1, update="sweep", seed=1)
    after = memory.chip.book()
    assert len(found.states) == 2
    assert after.products - before.products == 2 * 64
    adc = after.joules["ADC"] - before.joules["ADC"]
    assert adc == pytest.approx(2 * 64 * 2 * 100e-12)  # signs × updates × columns × 100 pJ a conversion


def test_two_states_that_lead_to_each_other_are_a_cycle_of_two(make_chip):
    layer = Layer(-np.ones((64, 64), np.float32) / 2, np.zeros(64, np.float32), np.ones((), np.float32))
    conductance = np.zeros((3, 64, 64))
    conductance[:, :, 1::2] = 75e-6
    chip = make_chip("ideal", conductance=conductance)
    memory = AssociativeMemory(chip, place((64, 64), 3, 64, 64), [layer])
    together = memory.recall(np.ones((1, 64), np.int8))
    assert together.periods.tolist() == [2]
    assert not together.settled.any()
    one_by_one = memory.recall(np.ones((1, 64), np.int8), update="random")
    assert one_by_one.states.shape[1:] == (1, 64)


def test_a_recall_on_the_board_takes_few_round_trips_and_no_lease(twins):
    patterns, (_, memory) = twins((64, 16, 64), "sign")
    memory.recall(cues_of(patterns, 2), on_board=True)
    before = memory.chip.board.link_statistics().round_trips
    memory.recall(cues_of(patterns, 40), on_board=True)
    assert memory.chip.board.link_statistics().round_trips - before <= 12
    assert not memory.chip.board.state().armed


def test_a_field_of_zero_keeps_the_old_state(make_chip):
    blank = Layer(np.zeros((64, 64), np.float32), np.zeros(64, np.float32), np.ones((), np.float32))
    chip = make_chip("ideal", conductance=np.zeros((3, 64, 64)))
    found = AssociativeMemory(chip, place((64, 64), 3, 64, 64), [blank]).recall(PATTERNS, on_board=True)
    np.testing.assert_array_equal(found.final, PATTERNS)
    assert found.settled.all()


def test_where_a_column_saturates_the_gain_is_lowered(make_chip):
    held = Layer(np.ones((64, 64), np.float32), np.zeros(64, np.float32), np.ones((), np.float32))
    conductance = np.zeros((3, 64, 64))
    conductance[:, :, 0::2] = 150e-6
    chip = make_chip("ideal", conductance=conductance)
    memory = AssociativeMemory(chip, place((64, 64), 3, 64, 64), [held])
    found = memory.recall(np.ones((1, 64), np.int8), on_board=True)
    assert found.settled.all()
    assert (found.final == 1).all()
    assert memory._gains[0, 0] < memory._gain((1, 0), memory.placement.layers[0][0])


def test_more_cues_than_a_report_holds_go_in_several_jobs(twins):
    patterns, (driven, memory) = twins((64, 64), "sign")
    cues = cues_of(patterns, 2100)
    found = memory.recall(cues, 2, on_board=True)
    assert found.states.shape[1:] == (2100, 64)
    np.testing.assert_array_equal(driven.recall(cues, 2).states, found.states)
    assert (found.final * np.resize(patterns, (2100, 64))).mean() > 0.7


def test_a_chain_of_other_bytes_than_were_staged_is_refused(make_chip):
    chip = make_chip()
    with pytest.raises(DeviceError, match="staging_incomplete"):
        chip.board._link.request(StartChain(5, 1, 64, 1, 5, 0, 1, 0, 1, 0, 3_000_000, 12, 99))


def test_a_chain_without_layers_is_refused(make_chip):
    board = make_chip().board
    with pytest.raises(DeviceError, match="layers is 0"):
        board.chain(StartChain(5, 0, 8, 1, 5, 0, 1, 0, 1, 0, 3_000_000, 0, 0), bytes(1))
    assert board.state().fault == 0


@pytest.fixture
def memory(make_chip):
    """A memory of one layer on a chip without noise: the same cues give the same states again."""
    weights = (PATTERNS.T @ PATTERNS / 6).astype(np.float32)
    np.fill_diagonal(weights, 0)
    layer = Layer(weights, np.zeros(64, np.float32), np.ones((), np.float32))
    placement = place((64, 64), 3, 64, 64)
    healthy = {array: FaultMap.none(64, 64) for array in range(3)}
    conductance = np.zeros((3, 64, 64))
    for array, plan in array_targets(placement, [layer.weights], healthy).items():
        conductance[array] = plan.target
    return AssociativeMemory(make_chip("ideal", conductance=conductance), placement, [layer])


def interrupt(memory, monkeypatch, happen, times=1):
    """Let `happen` come to pass at the first looks at a running job, each time instead of the answer."""
    link, looks = memory.chip.board._link, []
    request = link.request

    def answer(asked, *more):
        if isinstance(asked, GetJob) and len(looks) < times:
            looks.append(asked.job_id)
            happen()
        return request(asked, *more)

    monkeypatch.setattr(link, "request", answer)
    return looks


def lose_line():
    raise LinkTimeout("the cable was moved")


def test_a_recall_whose_line_was_lost_is_followed_and_not_begun_again(memory, monkeypatch):
    wanted = memory.recall(CUES, 8, on_board=True)
    products = memory.chip.book().products
    looks = interrupt(memory, monkeypatch, lose_line, times=3)
    found = memory.recall(CUES, 8, on_board=True)
    np.testing.assert_array_equal(found.states, wanted.states)
    assert len(set(looks)) == 1
    assert memory.chip.book().products == 2 * products


def test_a_recall_that_the_board_forgot_is_begun_again(memory, monkeypatch):
    wanted = memory.recall(CUES, 8, on_board=True)
    endpoint = memory.chip.board._link.transport

    def reset():
        endpoint._board.mcu = VirtualMcu(memory.chip.truth)
        lose_line()

    looks = interrupt(memory, monkeypatch, reset)
    np.testing.assert_array_equal(memory.recall(CUES, 8, on_board=True).states, wanted.states)
    assert len(looks) == 1


@pytest.mark.parametrize("fault", [Fault.CONVERTER_TIMEOUT, Fault.BAD_FRAME_STORM])
def test_a_recall_that_a_fault_ended_is_begun_again_once_the_fault_is_over(memory, monkeypatch, fault):
    wanted = memory.recall(CUES, 8, on_board=True)
    interrupt(memory, monkeypatch, lambda: memory.chip.mcu._make_safe(fault))
    np.testing.assert_array_equal(memory.recall(CUES, 8, on_board=True).states, wanted.states)
    assert memory.chip.board.state().fault == Fault.NONE


def test_a_recall_under_a_fault_that_stays_ends_and_names_it(memory, monkeypatch):
    memory.chip.bench.stopped_arrays = {0, 1, 2}
    with pytest.raises(DeviceError, match="converter timeout ended the job"):
        memory.recall(CUES, 8, on_board=True)


def test_a_fault_from_before_a_recall_is_not_cleared_by_it(memory):
    memory.chip.mcu._make_safe(Fault.BROWN_OUT)
    with pytest.raises(DeviceError, match="BROWN_OUT is latched"):
        memory.recall(CUES, 8, on_board=True)
    assert memory.chip.board.state().fault == Fault.BROWN_OUT


@pytest.mark.parametrize("then", [lambda: None, lose_line], ids=["seen", "line lost"])
def test_a_recall_during_which_somebody_asked_for_safety_is_left_alone(memory, monkeypatch, then):
    def safe():
        memory.chip.board.safe()
        then()

    interrupt(memory, monkeypatch, safe)
    with pytest.raises(MadeSafe, match="the board"):
        memory.recall(CUES, 8, on_board=True)
    assert len(set(memory.chip.board.rails().set_codes)) == 1


def test_a_line_that_is_lost_again_and_again_ends_a_recall(memory, monkeypatch):
    looks = interrupt(memory, monkeypatch, lose_line, times=99)
    with pytest.raises(LinkError, match="the cable was moved"):
        memory.recall(CUES, 8, on_board=True)
    assert len(looks) == 4
