"""Recall on the chip is recall of the weights it holds."""

import numpy as np
import pytest

from chipctl.mapping import array_targets, place
from chipctl.memory.associative import AssociativeMemory, Correction, cosine, energy
from chipctl.memory.digits import load_digits
from chipctl.memory.learning import Layer, Robust, recall, train
from chipctl.memory.store import StoredMemory
from chipctl.profile import FaultMap
from chipctl.progress import Progress
from chipctl.studies.first_light import FirstLight, run_first_light


@pytest.fixture
def on_chip(make_chip):
    """A chip whose devices hold trained layers exactly."""

    def hold(sizes, patterns, hidden="sign"):
        layers = train(patterns, sizes, rule=Robust(steps=300, hidden=hidden, seed=1)).layers
        placement = place(sizes, 3, 64, 64)
        healthy = {array: FaultMap.none(64, 64) for array in range(3)}
        planned = array_targets(placement, [layer.weights for layer in layers], healthy)
        conductance = np.zeros((3, 64, 64))
        for array, plan in planned.items():
            conductance[array] = plan.target
        chip = make_chip("ideal", conductance=conductance)
        return AssociativeMemory(chip, placement, layers, hidden)

    return hold


PATTERNS = np.random.default_rng(3).choice([-1, 1], (6, 64)).astype(np.int8)


@pytest.mark.parametrize("sizes", [(64, 64), (64, 16, 64), (64, 16, 24, 64)])
def test_the_chips_fields_are_those_of_its_weights(on_chip, sizes):
    memory = on_chip(sizes, PATTERNS)

    fields = memory.fields(PATTERNS)

    exact = PATTERNS
    for layer in memory.layers:
        exact = layer.field(exact)
        last, exact = exact, np.where(exact >= 0, 1, -1)
    np.testing.assert_allclose(fields, last, atol=0.06)


@pytest.mark.parametrize("hidden", ["sign", "tanh"])
def test_recall_on_an_ideal_chip_ends_where_float_recall_does(on_chip, hidden):
    memory = on_chip((64, 16, 64), PATTERNS, hidden)
    rng = np.random.default_rng(4)
    cues = np.where(rng.random((60, 64)) < 0.1, -1, 1).astype(np.int8) * np.repeat(PATTERNS, 10, axis=0)

    found = memory.recall(cues)

    wanted = recall(memory.layers, cues, hidden=hidden)
    assert (found.final == wanted.final).all(axis=1).mean() > 0.95
    assert found.energies.shape == (len(found.states), 60)


def test_a_field_of_zero_keeps_the_old_state(make_chip):
    blank = Layer(np.zeros((64, 64), np.float32), np.zeros(64, np.float32), np.ones((), np.float32))
    memory = AssociativeMemory(
        make_chip("ideal", conductance=np.zeros((3, 64, 64))), place((64, 64), 3, 64, 64), [blank]
    )
    found = memory.recall(PATTERNS)
    np.testing.assert_array_equal(found.final, PATTERNS)
    assert found.settled.all()


def test_energy_of_one_layer_is_hopfields(on_chip):
    memory = on_chip((64, 64), PATTERNS)
    (layer,) = memory.layers
    x = PATTERNS.astype(float)

    found = energy(memory.layers, PATTERNS, layer.field(x))

    exact = -0.5 * np.einsum("ki,ij,kj->k", x, layer.weights.astype(float), x) - x @ layer.bias
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("update", ["random", "sweep"])
def test_energies_of_neurons_one_by_one_are_exact(on_chip, update):
    memory = on_chip((64, 64), PATTERNS)
    found = memory.recall(PATTERNS, 2, update=update)
    (layer,) = memory.layers
    x = found.states.astype(float)
    exact = -0.5 * np.einsum("ski,ij,skj->sk", x, layer.weights.astype(float), x) - x @ layer.bias
    assert found.energies.dtype == np.float64
    np.testing.assert_allclose(found.energies, exact, rtol=1e-12)


@pytest.mark.parametrize("update", ["all", "random", "sweep"])
@pytest.mark.parametrize("iterations", [0, -1, 256, 5.5])
def test_a_number_of_iterations_that_is_none_is_refused_before_a_byte_is_sent(on_chip, iterations, update):
    memory = on_chip((64, 64), PATTERNS)
    sent = memory.chip.board.link_statistics().bytes_out
    with pytest.raises(ValueError, match=f"1 to 255 iterations, not {iterations}"):
        memory.recall(PATTERNS, iterations, update=update)
    assert memory.chip.board.link_statistics().bytes_out == sent


@pytest.mark.parametrize(
    ("cues", "update", "what"),
    [
        (PATTERNS, "async", "`random`"),
        (PATTERNS, "All", "`sweep`"),
        (PATTERNS > 0, "all", "are 0 and 1"),
        ((PATTERNS > 0).astype(np.uint8), "all", "are 0 and 1"),
        (PATTERNS * 0.5, "all", "must be ±1"),
        (np.where(PATTERNS > 0, np.nan, 1.0), "all", "not finite"),
        ([[1, -1], [1]], "all", "equal length"),
        (["+-" * 32], "all", "are numbers"),
    ],
)
def test_what_cannot_be_recalled_is_refused_before_a_byte_is_sent(on_chip, cues, update, what):
    memory = on_chip((64, 64), PATTERNS)
    sent = memory.chip.board.link_statistics().bytes_out
    with pytest.raises(ValueError, match=what):
        memory.recall(cues, update=update)
    assert memory.chip.board.link_statistics().bytes_out == sent


def test_pixels_of_0_and_1_are_no_cue_for_continuous_patterns_either(on_chip):
    memory = on_chip((64, 64), PATTERNS)
    memory.outputs = "tanh"
    with pytest.raises(ValueError, match=r"write 2.0 \* cues - 1"):
        memory.recall((PATTERNS > 0).astype(float))
    assert memory.recall((PATTERNS > 0) * 2.0 - 1, 1).final.shape == PATTERNS.shape


def test_a_saturating_column_is_read_again_at_a_lower_gain(on_chip):
    memory = on_chip((64, 64), PATTERNS)
    memory._gains = {(0, 0): 4, (0, 1): 4}
    memory.fields(PATTERNS)
    assert set(memory._gains.values()) < {0, 1, 2}


def test_cosine_counts_wrong_pixels():
    state = PATTERNS[:1].copy()
    state[0, :3] *= -1
    assert cosine(state, PATTERNS[:1]) == pytest.approx(1 - 2 * 3 / 64)


def test_calibration_undoes_slopes_and_offsets(on_chip):
    memory = on_chip((64, 16, 64), PATTERNS)
    rng = np.random.default_rng(5)
    states = rng.choice([-1, 1], (400, 64)).astype(np.int8)
    exact = memory.fields(states)
    bent = Correction(np.linspace(0.6, 1.1, 64), np.linspace(-2, 2, 64))
    straight = memory._layer_fields
    memory._layer_fields = lambda index, *rest: (
        straight(index, *rest) * bent.slope + bent.offset if index == 1 else straight(index, *rest)
    )

    memory.calibrate(states)

    np.testing.assert_allclose(memory.corrections[1].slope, bent.slope, atol=0.03)
    np.testing.assert_allclose(memory.fields(states), exact, atol=0.3)


def test_calibration_repairs_what_a_wrong_weight_of_a_steady_input_shifts(on_chip):
    patterns = PATTERNS.copy()
    patterns[:, 20:60] = 1
    memory = on_chip((64, 64), patterns)
    cues = np.repeat(patterns, 20, axis=0)
    held = [layer.weights.copy() for layer in memory.layers]
    (layer,) = memory.layers
    meant = layer.weights.copy()
    meant[9, 20:60] -= 1.0  # the chip has more of these than was meant
    memory.layers = [Layer(meant, layer.bias, layer.gain)]
    assert held[0][9, 20:60].sum() - meant[9, 20:60].sum() == pytest.approx(40)
    exact = cues @ meant.T + layer.bias
    assert abs(memory.fields(cues) - exact)[:, 9].max() > 30

    memory.calibrate(cues)

    np.testing.assert_allclose(memory.fields(cues)[:, 9], exact[:, 9], atol=0.5)


def test_a_stored_memory_survives_its_file(on_chip, tmp_path):
    memory = on_chip((64, 16, 64), PATTERNS)
    memory.calibrate(PATTERNS)
    layers, corrections = tuple(memory.layers), tuple(memory.corrections)
    stored = StoredMemory("A", memory.placement, layers, "sign", PATTERNS, corrections)
    stored.save(tmp_path / "m.npz")

    again = StoredMemory.load(tmp_path / "m.npz")

    assert again.placement == stored.placement
    np.testing.assert_array_equal(again.corrections[1].slope, corrections[1].slope)
    np.testing.assert_array_equal(again.patterns, PATTERNS)
    for a, b in zip(again.layers, stored.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


def test_a_file_that_is_no_memory_says_where_one_comes_from(tmp_path):
    (tmp_path / "m.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match="chipctl demo"):
        StoredMemory.load(tmp_path / "m.npz")


def test_the_whole_instrument_recalls_digits_and_its_controls_do_not(make_chip):
    chip = make_chip("good", seed=21)

    result = run_first_light(chip, FirstLight(seed=3, draws=5), load_digits(), Progress())

    for memory in result.memories:
        assert memory.score.mean >= 0.99
        assert memory.unprogrammed.mean < 0.8
        for outcome in memory.arrays.values():
            mask = outcome.planned.mask
            assert outcome.report.verified[mask].mean() >= 0.9
            assert abs(outcome.errors.mean()) <= 0.5e-6
            assert outcome.errors.std() <= 4.4e-6
