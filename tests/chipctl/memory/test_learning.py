from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from chipctl.memory.digits import draw_one_per_class, load_digits, to_patterns
from chipctl.memory.learning import (
    Box,
    Layer,
    Paper,
    Robust,
    flip,
    forward,
    hebbian,
    pseudo_inverse,
    recall,
    settle,
    storkey,
    train,
)
from chipctl.memory.learning.robust import Parameters


def random_patterns(count, neurons=64, seed=0):
    return np.random.default_rng(seed).choice([-1, 1], (count, neurons)).astype(np.int8)


def digits(seed):
    images = draw_one_per_class(load_digits(), np.random.default_rng(seed))
    return to_patterns(images)


def test_a_healthy_pair_holds_minus_one_to_one_and_a_stuck_one_what_is_left():
    # columns: healthy; g+ stuck at 0.25; g- stuck at 0.25; both stuck; g+ stuck on at 2
    plus = np.array([[0, 0.25, 0, 0.5, 2]]), np.array([[1, 0.25, 1, 0.5, 2]])
    minus = np.array([[0, 0, 0.25, 0.75, 0]]), np.array([[1, 1, 0.25, 0.75, 1]])
    box = Box.from_pairs(*plus, *minus)
    np.testing.assert_array_equal(box.lower, [[-1, -0.75, -0.25, -0.25, 1]])
    np.testing.assert_array_equal(box.upper, [[1, 0.25, 0.75, -0.25, 2]])
    np.testing.assert_array_equal(box.healthy, [[True, False, False, False, False]])


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match="lower bound above"):
        Box(np.ones((2, 2)), np.zeros((2, 2)))


def test_hebb_of_one_pattern_is_its_outer_product_without_diagonal():
    pattern = np.array([[1, -1, 1, 1]], np.int8)
    expected = (np.outer(pattern, pattern) - np.eye(4)) / 4
    np.testing.assert_allclose(hebbian(pattern), expected)


def test_storkey_starts_as_hebb_and_follows_its_definition():
    patterns = random_patterns(2, 6)
    np.testing.assert_allclose(storkey(patterns[:1]), hebbian(patterns[:1]) + np.eye(6) / 6)
    before, state = storkey(patterns[:1]), patterns[1].astype(float)
    expected = before.copy()
    for i in range(6):
        for j in range(6):
            left = sum(before[i, k] * state[k] for k in range(6) if k not in (i, j))
            right = sum(before[j, k] * state[k] for k in range(6) if k not in (i, j))
            expected[i, j] += (state[i] * state[j] - state[i] * right - left * state[j]) / 6
    np.testing.assert_allclose(storkey(patterns), expected)


def test_the_pseudo_inverse_makes_patterns_eigenvectors_even_dependent_ones():
    patterns = random_patterns(20)
    patterns = np.concatenate([patterns, patterns[:3]]).astype(float)
    np.testing.assert_allclose(patterns @ pseudo_inverse(patterns).T, patterns, atol=1e-9)


def test_spanning_fills_the_span_and_keeps_signs_and_tanh():
    weights, bias = np.array([[0.5, -2.0]]), np.array([0.4])
    layer = Layer.spanning(weights, Box.free(1, 2), bias)
    np.testing.assert_allclose(layer.weights, [[0.25, -1]])
    state = np.array([[1, 1]], np.int8)
    np.testing.assert_allclose(layer.gain * layer.field(state), [[-1.1]], rtol=1e-6)


def test_a_tie_keeps_the_old_state():
    cues = np.array([[1, -1, 1]], np.int8)
    result = settle(lambda states: np.zeros(states.shape), cues)
    np.testing.assert_array_equal(result.final, cues)
    assert result.settled.all()
    assert result.iterations.tolist() == [0]


def test_a_cycle_is_recognised_and_not_called_settled():
    result = settle(lambda states: -states.astype(float), np.ones((1, 4), np.int8))
    assert result.settled.tolist() == [False]
    assert result.iterations.tolist() == [2]
    assert len(result.states) == 3


def test_each_cue_stops_by_itself_and_keeps_its_state():
    # a shift register settles on constant states; one -1 needs three shifts to leave it
    def shift(states):
        return np.concatenate([np.ones_like(states[:, :1]), states[:, :-1]], axis=1).astype(float)

    cues = np.array([[1, 1, 1], [-1, 1, 1]], np.int8)
    result = settle(shift, cues)
    assert result.iterations.tolist() == [0, 3]
    assert result.settled.all()
    np.testing.assert_array_equal(result.final, np.ones((2, 3)))


def test_recall_stops_after_max_iterations():
    turn = np.roll(np.eye(5, dtype=np.float32), 1, axis=0)
    layer = Layer(turn, np.zeros(5, np.float32), np.ones((), np.float32))
    result = recall([layer], np.array([[1, -1, -1, -1, -1]], np.int8), max_iterations=3)
    assert result.iterations.tolist() == [3]
    assert not result.settled.any()


def test_hidden_units_are_signs_or_tanh():
    first = Layer(np.full((1, 2), 0.5, np.float32), np.zeros(1, np.float32), np.float32(2))
    last = Layer(np.ones((1, 1), np.float32), np.zeros(1, np.float32), np.float32(1))
    states = np.array([[1, 1], [1, -1], [-1, -1]])
    np.testing.assert_allclose(forward([first, last], states), [[1], [1], [-1]])
    expected = np.tanh([[2], [0], [-2]])
    np.testing.assert_allclose(forward([first, last], states, "tanh"), expected, rtol=1e-6)


def test_flips_have_the_probability_asked_for():
    patterns = random_patterns(500)
    cues = flip(patterns, 0.1, np.random.default_rng(3))
    assert np.mean(cues != patterns) == pytest.approx(0.1, abs=0.006)  # 3.6 σ of 32 000 pixels


def stuck_boxes(sizes, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    boxes = []
    for inputs, outputs in pairwise(sizes):
        stuck = rng.random((2, outputs, inputs)) < share
        at = rng.uniform(0, 2.67, stuck.shape)
        low, high = np.where(stuck, at, 0), np.where(stuck, at, 1)
        boxes.append(Box.from_pairs(low[0], high[0], low[1], high[1]))
    return boxes


@pytest.mark.parametrize("rule", [Robust(steps=30), Paper(steps=30)])
@pytest.mark.parametrize("sizes", [(64, 64), (64, 16, 64)])
def test_trained_weights_fit_their_boxes_and_dead_pairs_keep_their_constant(rule, sizes):
    boxes = stuck_boxes(sizes)
    layers = train(random_patterns(5), sizes, boxes, rule).layers
    for layer, box in zip(layers, boxes, strict=True):
        assert np.all((layer.weights >= box.lower) & (layer.weights <= box.upper))
        dead = box.lower == box.upper
        assert dead.any()
        np.testing.assert_array_equal(layer.weights[dead], box.lower[dead])


def slopes_by_difference(loss_of, values, step=1e-6):
    slopes = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        kept = values[index]
        values[index] = kept + step
        above = loss_of()
        values[index] = kept - step
        slopes[index] = (above - loss_of()) / (2 * step)
        values[index] = kept
    return slopes


def robust_gradients(layers, patterns):
    rule = Robust(overdrive=(1.0,), column_sigma=0.3)
    return rule._gradients(patterns, np.random.default_rng(4), layers)


@pytest.mark.parametrize("sizes", [(8, 8), (8, 3, 8)])
def test_robust_gradients_are_the_slopes_of_the_loss(sizes):
    rng = np.random.default_rng(2)
    patterns = random_patterns(3, 8).astype(float)[None]
    layers = [
        Parameters(rng.uniform(-1, 1, (1, outputs, inputs)), rng.uniform(-1, 1, (1, outputs)))
        for inputs, outputs in pairwise(sizes)
    ]

    def loss_of():
        return robust_gradients(layers, patterns)[0][0]

    for layer, slopes in zip(layers, robust_gradients(layers, patterns)[1], strict=True):
        for name in ("weights", "bias"):
            expected = slopes_by_difference(loss_of, getattr(layer, name))
            np.testing.assert_allclose(getattr(slopes, name), expected, rtol=1e-3, atol=1e-6)


def test_memories_trained_side_by_side_keep_apart():
    both = np.stack([random_patterns(4, seed=1), random_patterns(4, seed=2)])
    layers = train(both, (64, 64), rule=Robust(steps=200)).layers
    cues = flip(both, 0.05, np.random.default_rng(0))
    np.testing.assert_array_equal(recall(layers, cues).final, both)


def test_without_bias_there_is_none():
    layers = train(random_patterns(4), (64, 16, 64), rule=Robust(steps=20, bias=False)).layers
    assert not any(layer.bias.any() for layer in layers)


@pytest.mark.parametrize("sizes", [(64, 64), (64, 16, 64)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_digits_are_recalled_by_a_faulty_misprogrammed_memory(sizes, seed):
    rng = np.random.default_rng(seed)
    patterns = digits(seed)
    boxes = stuck_boxes(sizes, share=0.01, seed=seed)
    layers = train(patterns, sizes, boxes, Robust(steps=500)).layers
    held = [
        replace(layer, weights=box.clip(layer.weights + rng.normal(0, 0.046, layer.weights.shape)))
        for layer, box in zip(layers, boxes, strict=True)
    ]
    targets = np.repeat(patterns, 20, axis=0)
    cosines = (recall(held, flip(targets, 0.1, rng)).final * targets).mean(axis=1)
    assert cosines.mean() >= 0.995
    assert cosines.reshape(10, 20).mean(axis=1).min() >= 0.97


def test_shapes_that_do_not_fit_are_refused():
    patterns = random_patterns(3)
    with pytest.raises(ValueError, match="begin and end"):
        train(patterns, (64, 16, 32))
    with pytest.raises(ValueError, match="sizes ask for"):
        train(patterns, (64, 64), [Box.free(64, 32)])
    with pytest.raises(ValueError, match="must be ±1"):
        train(patterns * 0, (64, 64))
