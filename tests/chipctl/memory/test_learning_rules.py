from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from chipctl.memory.learning import (
    Aware,
    Box,
    Classical,
    EquilibriumPropagation,
    Flips,
    Gaussian,
    GradientDescent,
    OptimalStability,
    Paper,
    RmsProp,
    converge,
    flip,
    recall,
    relax,
    train,
)
from chipctl.memory.learning.layers import Layer
from chipctl.memory.learning.stability import stabilities


def random_patterns(count, neurons=64, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (count, neurons))


def hadamard(size):
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def stuck_boxes(sizes, share=0.5, seed=0):
    rng = np.random.default_rng(seed)
    boxes = []
    for inputs, outputs in pairwise(sizes):
        stuck, at = rng.random((2, outputs, inputs)) < share, rng.random((2, outputs, inputs))
        low, high = np.where(stuck, at, 0), np.where(stuck, at, 1)
        boxes.append(Box.from_pairs(low[0], high[0], low[1], high[1]))
    return boxes


def margins(layer, patterns):
    rows = np.concatenate([layer.weights, layer.bias[..., None]], axis=-1)
    return stabilities(rows, patterns)


def test_optimal_stability_of_orthogonal_patterns_is_known():
    # K = N δ + y yᵀ with a bias and self-connection; without it K = N δ + y yᵀ − 1 1ᵀ, and y ⊥ 1 makes
    # every pattern count alike: κ = √(N/M) and √((N − M)/M); neurons with constant y have √(N/M) again
    patterns = hadamard(64)[:8]
    constant = np.arange(64) % 8 == 0
    (free,), _ = OptimalStability().fit(patterns, [Box.free(64, 64)])
    np.testing.assert_allclose(margins(free, patterns)[~constant], np.sqrt(8), rtol=1e-3)
    (without,), least = OptimalStability().fit(patterns, [Box.free(64, 64).without_self()])
    np.testing.assert_allclose(margins(without, patterns)[~constant], np.sqrt(7), rtol=1e-3)
    np.testing.assert_allclose(margins(without, patterns)[constant], np.sqrt(8), rtol=1e-3)
    assert least[0] == pytest.approx(np.sqrt(7), rel=1e-3)


def test_no_other_row_has_a_wider_margin():
    patterns = random_patterns(20)
    boxes = [Box.free(64, 64).without_self()]
    (stable,), least = OptimalStability(steps=2000).fit(patterns, boxes)
    assert not np.diagonal(stable.weights).any()
    (trained,), _ = Paper(steps=500).fit(patterns, boxes)
    (projected,), _ = Classical("pseudo_inverse").fit(patterns, boxes)
    best = margins(stable, patterns).min(axis=1)
    assert best.min() == pytest.approx(least[0], rel=1e-5)
    for other in (trained, projected):
        assert np.all(margins(other, patterns).min(axis=1) <= best * 1.001)


def test_a_soft_margin_bounds_what_a_hopeless_pattern_can_do():
    # one pattern twice with opposite pixel 0: that row can't have both, the others are not disturbed
    patterns = random_patterns(10)
    patterns = np.concatenate([patterns, patterns[:1]])
    patterns[-1, 0] *= -1
    (layer,), _ = OptimalStability(softness=30).fit(patterns, [Box.free(64, 64).without_self()])
    found = margins(layer, patterns)
    assert found[0].min() < 0 < np.sort(found[0])[1]
    assert found[1:].min() > 0


def test_equilibrium_propagation_follows_the_slope_of_its_error():
    rng = np.random.default_rng(0)
    rule = EquilibriumPropagation(nudge=1e-4, relaxation=400)
    weights = rng.normal(0, 0.4, (6, 6))
    weights = (weights + weights.T) * (1 - np.eye(6))
    bias, patterns = rng.normal(0, 0.3, 6), random_patterns(3, 6).astype(float)

    def error():
        return rule.learn(weights, bias, patterns)[0] * 6 / 2

    _, (by_weight, by_bias) = rule.learn(weights, bias, patterns)
    for i, j in ((0, 1), (2, 5), (3, 4)):
        change = np.zeros((6, 6))
        change[i, j] = change[j, i] = 1e-5
        weights += change
        above = error()
        weights -= 2 * change
        assert by_weight[i, j] == pytest.approx((above - error()) / 2e-5, rel=1e-3, abs=1e-6)
        weights += change
    bias[2] += 1e-5
    above = error()
    bias[2] -= 2e-5
    assert by_bias[2] == pytest.approx((above - error()) / 2e-5, rel=1e-3, abs=1e-6)


def test_equilibrium_propagation_stores_with_symmetric_weights():
    patterns = random_patterns(5)
    (layer,), losses = EquilibriumPropagation().fit(patterns, [Box.free(64, 64)])
    np.testing.assert_allclose(layer.weights, layer.weights.T, atol=1e-6)
    assert not np.diagonal(layer.weights).any()
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_array_equal(recall([layer], patterns.astype(np.int8)).final, patterns)


@pytest.mark.parametrize("rule", [Classical("storkey"), OptimalStability(), EquilibriumPropagation()])
def test_rules_for_one_layer_refuse_more(rule):
    with pytest.raises(ValueError, match="one layer only, not 2"):
        train(random_patterns(3), (64, 16, 64), rule=rule)


@pytest.mark.parametrize("sizes", [(64, 64), (64, 16, 64), (64, 24, 16, 64)])
def test_the_better_form_stays_in_its_boxes_at_any_depth(sizes):
    boxes = stuck_boxes(sizes)
    rule = Aware(Flips(0.05), blur=0.02, weight_sigma=0.04, steps=60, batch=4)
    layers = train(random_patterns(6), sizes, boxes, rule).layers
    for layer, box in zip(layers, boxes, strict=True):
        assert np.all((layer.weights >= box.lower) & (layer.weights <= box.upper))
        dead = box.lower == box.upper
        assert dead.any()
        np.testing.assert_array_equal(layer.weights[dead], box.lower[dead])


def test_boxes_hold_more_with_half_of_the_devices_stuck_than_faults_only_known():
    patterns, boxes = random_patterns(10), stuck_boxes((64, 64))
    cues = flip(np.repeat(patterns, 40, axis=0).astype(np.int8), 0.05, np.random.default_rng(0))
    cosines = {}
    for name, box in (("box", boxes[0]), ("known", boxes[0].known())):
        layers = train(patterns, (64, 64), [box.without_self()], Aware(blur=0.05, gain=4, rate=2e-2)).layers
        cosines[name] = (converge(layers, cues) * np.repeat(patterns, 40, axis=0)).mean()
    assert cosines["box"] > 0.97 > 0.9 > cosines["known"]


def test_a_pair_with_stuck_devices_can_be_fixed_masked_or_left_what_it_can():
    # columns: healthy; g+ stuck at 0.25; g- stuck on at 2; both stuck at 0.5 and 0.75
    low, high = np.array([[0, 0.25, 0, 0.5]]), np.array([[1, 0.25, 1, 0.5]])
    minus_low, minus_high = np.array([[0, 0, 2, 0.75]]), np.array([[1, 1, 2, 0.75]])
    box = Box.from_pairs(low, high, minus_low, minus_high)
    np.testing.assert_array_equal(box.nearest_zero, [[0, 0, -1, -0.25]])
    np.testing.assert_array_equal(box.known().upper, [[1, 0, -1, -0.25]])
    np.testing.assert_array_equal(box.known().lower, [[-1, 0, -1, -0.25]])
    np.testing.assert_array_equal(box.masked().upper, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(Box.free(2, 2).without_self().upper, [[0, 1], [1, 0]])


def test_training_for_variation_survives_it_where_plain_training_does_not():
    patterns = random_patterns(10, seed=4)
    targets = np.repeat(patterns, 50, axis=0)
    rng = np.random.default_rng(0)
    cues = flip(targets.astype(np.int8), 0.05, rng)
    kept = {}
    for sigma in (0.0, 0.3):
        layers = train(patterns, (64, 16, 64), rule=Aware(weight_sigma=sigma, gain=8, rate=1e-2)).layers
        noisy = [
            replace(
                layer,
                weights=layer.weights + 0.3 * rng.standard_normal((8, *layer.weights.shape), np.float32),
            )
            for layer in layers
        ]
        copies = np.broadcast_to(cues, (8, *cues.shape))
        kept[sigma] = (recall(noisy, copies, hidden="tanh").final * targets).mean()
    assert kept[0.3] > 0.95 > 0.6 > kept[0.0]


def test_two_layers_recall_greys_and_training_noise_helps():
    patterns = np.random.default_rng(0).uniform(-1, 1, (8, 64)).astype(np.float32)
    targets = np.repeat(patterns, 20, axis=0)
    cues = np.empty_like(targets)
    Gaussian(0.6).damage(targets, np.random.default_rng(1), cues)
    reached = {}
    for name, rule in (("clean", Paper(steps=1500, rate=3e-3)), ("shown", Aware(Gaussian(0.5), gain=8))):
        layers = train(patterns, (64, 32, 64), rule=rule).layers
        final = relax(layers, cues)
        norms = np.linalg.norm(final, axis=1) * np.linalg.norm(targets, axis=1)
        reached[name] = np.mean((final * targets).sum(axis=1) / norms)
    assert reached["shown"] > 0.98
    assert reached["shown"] > reached["clean"]


def test_the_published_settings_are_plain_descent_on_the_sum_over_neurons_as_printed():
    rule = Paper.as_published((64, 64))
    assert (rule.steps, rule.final) == (10_000, 1.0)
    deep = Paper.as_published((64, 16, 64))
    assert (deep.rate, deep.steps, deep.final, deep.optimiser) == (
        3e-4,
        60_000,
        1.0,
        RmsProp(0.99, warm=False),
    )
    patterns, boxes = random_patterns(40), [Box.free(64, 64)]
    (start,), (end,) = (replace(rule, steps=steps).fit(patterns, boxes)[0] for steps in (0, 3))
    weights, bias = start.gain * start.weights.astype(float), np.zeros(64)
    for _ in range(3):
        answers = np.tanh(patterns @ weights.T + bias)
        slopes = 2 / 40 * (answers - patterns) * (1 - answers**2)  # of 1/m Σ |ξ − tanh(Wξ + b)|²
        weights, bias = weights - 3e-2 * slopes.T @ patterns, bias - 3e-2 * slopes.sum(axis=0)
    np.testing.assert_allclose(end.gain * end.weights, weights, atol=1e-6)
    np.testing.assert_allclose(end.gain * end.bias, bias, atol=1e-6)


def test_plain_descent_ends_at_wider_margins_than_rmsprop():
    patterns, boxes = random_patterns(25), [Box.free(64, 64).without_self()]
    rms, plain = Paper(steps=1000), Paper(steps=2000, rate=4.0, optimiser=GradientDescent())
    least = [margins(rule.fit(patterns, boxes)[0][0], patterns).min(axis=1).mean() for rule in (rms, plain)]
    assert least[1] > 1.03 * least[0] > 0


def test_what_stuck_pairs_force_on_a_unit_lowers_the_gain():
    def boxes_of(value):
        # a quarter of the pairs hold `value` and nothing else
        lower, upper = (np.full((8, 8), edge, np.float32) for edge in (-1, 1))
        lower[:4, :4] = upper[:4, :4] = value
        return [Box.free(8, 8), Box(lower, upper)]

    rule = Aware(gain=4, blur=0.05)
    assert rule.unsaturated([Box.free(8, 8)]) == rule.unsaturated(boxes_of(0.5)) == rule
    assert rule.unsaturated(boxes_of(2)) == replace(rule, gain=1.5)  # root mean square 1


def test_converging_ends_where_recall_does():
    patterns = random_patterns(14, 32)
    layers = train(patterns, (32, 32), rule=Classical("pseudo_inverse")).layers
    cues = flip(np.repeat(patterns, 20, axis=0).astype(np.int8), 0.2, np.random.default_rng(0))
    whole = recall(layers, cues, max_iterations=50)
    final = converge(layers, cues)
    np.testing.assert_array_equal(final[whole.settled], whole.final[whole.settled])
    assert whole.settled.mean() > 0.5


@pytest.mark.parametrize("most", [7, 8])
def test_a_cycle_of_two_ends_on_the_state_that_its_parity_gives(most):
    swap = Layer(-np.eye(4, dtype=np.float32), np.zeros(4, np.float32), np.ones((), np.float32))
    cue = np.array([[1, -1, 1, 1]], np.int8)
    expected = cue if most % 2 == 0 else -cue
    np.testing.assert_array_equal(converge([swap], cue, max_iterations=most), expected)


def test_epochs_tell_how_often_each_pattern_is_shown():
    boxes = [Box.free(64, 64)]
    for patterns, batch, steps in ((10, None, 7), (10, 4, 21), (10, 50, 7)):
        _, losses = Aware(epochs=7, batch=batch).fit(random_patterns(patterns), boxes)
        assert len(losses) == steps
