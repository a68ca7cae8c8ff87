"""Patterns in, a memory on the chip out; kept in a file, and found again on its own chip alone."""

from dataclasses import replace

import numpy as np
import pytest

from chipctl.board import Region
from chipctl.chip import PulseShape
from chipctl.errors import ChipctlError, ProtocolError
from chipctl.faults import scan
from chipctl.memory.associative import cosine
from chipctl.memory.learning import Aware, Layer, flip
from chipctl.memory.store import StoredMemory, Storing, fault_maps, restore, store
from chipctl.memory.whole_chain import Continuous, WholeChain, run_continuous, run_whole_chain
from chipctl.planner import plan
from chipctl.profile import FaultKind, FaultMap
from chipctl.programming import program
from chipctl.progress import Progress
from firmware_protocol.messages import RESET, SET
from sim_chip.faults import FaultPlan
from sim_chip.presets import preset

RNG = np.random.default_rng(11)
PATTERNS = RNG.choice([-1, 1], (4, 64)).astype(np.int8)
QUICK = Storing(rule=Aware(steps=200, rate=2e-2, blur=0.1, weight_sigma=0.046), seed=1, spread=False)


@pytest.fixture
def stored(make_chip):
    chip = make_chip("good", seed=5)
    for array in range(3):  # as if scanned: the stuck devices are few
        chip.profile.set_fault_map(array, FaultMap.none(64, 64))
    return chip, store(chip, PATTERNS, QUICK)


def test_what_is_stored_is_recalled_and_said_of_every_iteration(stored):
    _, memory = stored
    cues = flip(np.repeat(PATTERNS, 10, axis=0), 0.1, np.random.default_rng(2))

    found = memory.recall(cues)

    assert (found.nearest == np.repeat(np.arange(4), 10)).mean() > 0.97
    assert found.similarity.shape == (len(found.states), 40, 4)
    np.testing.assert_allclose(found.similarity[0], cues @ PATTERNS.T / 64)
    assert found.energies.shape == found.states.shape[:2]
    assert (found.energies[-1] < found.energies[0]).all()


def test_a_memory_is_found_again_on_its_chip(stored, tmp_path):
    chip, memory = stored
    memory.save(tmp_path / "m.npz")

    again = restore(chip, tmp_path / "m.npz")

    assert again.placement == memory.placement
    np.testing.assert_array_equal(again.recall(PATTERNS).final, PATTERNS)


def test_another_chip_is_refused(stored, make_chip, tmp_path):
    stored[1].save(tmp_path / "m.npz")
    with pytest.raises(ProtocolError, match="was programmed on chip"):
        restore(make_chip("good", seed=6), tmp_path / "m.npz")


def test_arrays_that_hold_something_else_by_now_are_refused(stored, tmp_path):
    chip, memory = stored
    memory.save(tmp_path / "m.npz")
    store(chip, -PATTERNS[:, ::-1], replace(QUICK, rehearsals=0))
    with pytest.raises(ChipctlError, match="not on the chip any more"):
        restore(chip, tmp_path / "m.npz")


def test_an_array_is_scanned_once(make_chip):
    chip = make_chip("good", seed=5)
    first = fault_maps(chip, QUICK, Progress())
    pulses = chip.book().set_pulses
    assert pulses >= 3 * 4000
    again = fault_maps(chip, QUICK, Progress())
    assert chip.book().set_pulses == pulses
    assert all((again[array].kinds == first[array].kinds).all() for array in range(3))


def test_a_second_memory_on_the_chip_makes_the_first_one_say_that_it_is_gone(stored):
    chip, first = stored
    other = RNG.choice([-1, 1], (4, 64)).astype(np.int8)
    second = store(chip, other, replace(QUICK, rehearsals=0))

    np.testing.assert_array_equal(second.recall(other).final, other)
    for use in (first.recall, first.fields, first.calibrate):
        with pytest.raises(ChipctlError, match="was pulsed since"):
            use(PATTERNS)
    with pytest.raises(ChipctlError, match="not on the chip any more"):
        first.find()
    second.find()


def test_whoever_pulses_an_array_is_noticed_and_a_look_says_whether_the_memory_is_still_there(stored):
    chip, memory = stored
    (used, *_), spare = memory.placement.arrays, 2
    assert spare not in memory.placement.arrays

    chip.pulse(spare, PulseShape(RESET, 1.5, 5.0, 1e-6))
    np.testing.assert_array_equal(memory.recall(PATTERNS).final, PATTERNS)

    chip.pulse(used, PulseShape(RESET, 1.5, 5.0, 1e-6), Region(0, 1, 0, 1))
    with pytest.raises(ChipctlError, match=f"array {used} was pulsed since"):
        memory.recall(PATTERNS)
    memory.find()
    np.testing.assert_array_equal(memory.recall(PATTERNS).final, PATTERNS)

    chip.pulse(used, PulseShape(RESET, 2.4, 5.0, 1e-6))
    with pytest.raises(ChipctlError, match="not on the chip any more"):
        memory.find()


@pytest.mark.parametrize("pulsing", ["program", "scan", "sweep", "pulse_each"])
def test_every_way_to_pulse_is_noticed(stored, pulsing):
    chip, memory = stored
    (used, *_) = memory.placement.arrays
    one = np.zeros((64, 64), bool)
    one[3, 3] = True
    ways = {
        "program": lambda: program(chip, used, np.where(one, 120e-6, 0), mask=one),
        "scan": lambda: scan(chip, used, on_board=True),
        "sweep": lambda: chip.sweep(used, 3, 3, SET, [0.5, 1.0], 1.0, 1e-6),
        "pulse_each": lambda: chip.pulse_each(used, SET, np.where(one, 1.0, np.nan), one * 1.0, 1e-6),
    }
    memory.check_there()
    ways[pulsing]()
    with pytest.raises(ChipctlError, match="was pulsed since"):
        memory.recall(PATTERNS)


def test_a_memory_restored_is_gone_once_another_is_stored(stored, tmp_path):
    chip, memory = stored
    memory.save(str(tmp_path / "m.npz"))
    again = restore(chip, str(tmp_path / "m.npz"))
    store(chip, -PATTERNS[:, ::-1], replace(QUICK, rehearsals=0))
    with pytest.raises(ChipctlError, match="was pulsed since"):
        again.recall(PATTERNS)


def test_a_memory_is_told_in_one_line(stored):
    _, memory = stored
    on = ", ".join(map(str, memory.placement.arrays))
    serial = memory.chip.profile.serial
    assert repr(memory) == f"<a memory of 4 patterns, ±1, 64-64, on arrays {on} of chip {serial}>"
    found = memory.recall(PATTERNS)
    assert repr(found) == f"<recall of 4 cues of 64 neurons: 4 settled, {len(found.states) - 1} iterations>"


def test_a_layer_too_large_for_the_chip_is_programmed_part_after_part(make_chip, tmp_path):
    patterns = np.random.default_rng(8).choice([-1, 1], (2, 100)).astype(np.int8)
    chip = make_chip("ideal", seed=5)
    memory = store(chip, patterns, replace(QUICK, rehearsals=2, rule=Aware(steps=100, rate=1e-2)))
    assert memory.placement.loads == 3  # 96 pairs have room for 64 inputs each: 96 + 4, 92 + 8
    brought = memory.writer.programmings
    cues = flip(patterns, 0.1, np.random.default_rng(4))

    fields = memory.fields(cues)
    found = memory.recall(cues, 2)

    (layer,) = memory.layers
    np.testing.assert_allclose(fields, layer.field(cues), atol=1.5)
    assert np.corrcoef(fields.ravel(), layer.field(cues).ravel())[0, 1] > 0.995
    np.testing.assert_array_equal(found.final, patterns)
    assert memory.writer.programmings - brought >= 3
    with pytest.raises(ValueError, match="several loads"):
        memory.recall(cues, on_board=True)
    (held,) = memory.held()
    np.testing.assert_allclose(held.weights, layer.weights, atol=0.1)  # of every load, not of the last alone
    memory.save(tmp_path / "m.npz")
    again = restore(chip, tmp_path / "m.npz")
    assert again.writer.held == memory.writer.held
    assert again.recall(cues, 1).states.shape == (2, 2, 100)
    with pytest.raises(ChipctlError, match="was pulsed since"):
        memory.recall(cues, 1)  # what it left on the arrays is not there any more
    again.bring = None
    with pytest.raises(ValueError, match="who brings them"):
        again.held()


def test_dead_lines_are_passed_by_and_the_memory_still_recalls(make_chip):
    lines = FaultPlan(
        dead_rows=((0, 5),), dead_cols=((0, 8), (1, 3)), dead_adcs=((1, 0),), railed_tias=((0, 20),)
    )
    chip = make_chip(preset("good"), seed=5, faults=lines)
    memory = store(chip, PATTERNS, replace(QUICK, spread=True))

    on_first = [tile.pairs for tile in memory.placement.layers[0] if tile.array == 0]
    assert all(10 not in pairs for pairs in on_first)
    assert memory.plan.cost < memory.plan.naive_cost
    assert (memory.recall(PATTERNS).final * PATTERNS).mean() > 0.99


def scattered(share, seed):
    faults = FaultMap.none(64, 64)
    stuck = np.random.default_rng(seed).random((64, 64)) < share
    faults.kinds[stuck], faults.conductance[stuck] = FaultKind.STUCK_HIGH, 300e-6
    return faults


def test_planning_is_told_beside_what_it_spared():
    faults = {array: scattered(share, array) for array, share in enumerate((0.3, 0.1, 0.2))}
    packed, wide = (plan((64, 64), faults, spread=spread) for spread in (False, True))
    assert wide.cost < packed.cost < wide.naive_cost
    assert packed.placement.arrays == (1, 2)
    assert "if placed without looking" in str(wide)
    assert "array 1, inputs 0-63 on rows 0-63, outputs 0-31 on pairs 0-31" in str(packed)


@pytest.mark.parametrize(("ratio", "patterns"), [(0.1, 19), (0.5, 1)])
def test_the_whole_chain_recalls_as_its_conductances_do_and_beyond_the_published_rule(ratio, patterns):
    found = run_whole_chain(WholeChain(ratio, patterns, seed=3, copies=10))
    assert abs(found.boxed.lost) <= 0.01
    assert found.boxed.chip > 0.99
    assert found.boxed.chip > found.published.chip
    assert (found.missed, found.wronged) == (0, 0)
    assert found.stuck == pytest.approx(ratio * 3 * 64 * 64, rel=0.1)


def test_continuous_patterns_are_recalled_by_two_layers_where_one_fails():
    cues, two = run_continuous(Continuous(seed=1, sigma=0.5, copies=2))
    _, one = run_continuous(Continuous(seed=1, sigma=0.5, hidden=(), copies=2))
    assert cues < 0.91
    assert two.chip > 0.985
    assert one.chip < 0.96
    assert abs(two.lost) < 0.01


def test_a_file_keeps_continuous_patterns_as_they_are(tmp_path):
    greys = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    layer = Layer(np.eye(4, dtype=np.float32), np.zeros(4, np.float32), np.float32(2))
    placement = plan((4, 4), {0: FaultMap.none(64, 64)}).placement
    StoredMemory("A", placement, (layer,), "tanh", greys, (), "tanh").save(tmp_path / "m.npz")
    again = StoredMemory.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.patterns, greys)
    assert again.outputs == "tanh"
    assert cosine(again.patterns, greys) == pytest.approx(1)
