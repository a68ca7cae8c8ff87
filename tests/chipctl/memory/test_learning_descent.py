import numpy as np
import pytest

from chipctl.memory.learning import Adam, Clean, Flips, Gaussian, GradientDescent, RmsProp
from chipctl.memory.learning.descent import Descent, Variable, descend
from chipctl.memory.learning.tanh_chain import Lessons, TanhChain, parameters

STEP = 1e-6


def chain_and_lesson(sizes, trials=(), blur=0.0, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (*trials, parameters(sizes)))
    gains = [0.7 + 0.3 * index for index in range(len(sizes) - 1)]
    targets = rng.choice([-1.0, 1.0], (*trials, 3, sizes[0]))
    inputs, _ = next(Lessons(targets, Gaussian(0.3))(rng))
    return TanhChain(values, sizes, gains, blur), inputs.copy(), targets


@pytest.mark.parametrize("blur", [0.0, 0.1])
@pytest.mark.parametrize("trials", [(), (2,)])
@pytest.mark.parametrize("sizes", [(6, 6), (6, 3, 6), (6, 4, 5, 6)])
def test_slopes_are_those_of_the_loss_at_any_depth(sizes, trials, blur):
    chain, inputs, targets = chain_and_lesson(sizes, trials, blur)
    chain.learn(inputs, targets)
    found = chain.slopes.copy()
    for index in range(0, chain.values.shape[-1], 5):
        kept = chain.values[..., index].copy()
        chain.values[..., index] = kept + STEP
        above = chain.learn(inputs, targets)
        chain.values[..., index] = kept - STEP
        expected = (above - chain.learn(inputs, targets)) / (2 * STEP)
        chain.values[..., index] = kept
        np.testing.assert_allclose(found[..., index], expected, rtol=1e-5, atol=1e-9)


def test_the_loss_is_the_published_mean_square():
    chain, inputs, targets = chain_and_lesson((6, 3, 6))
    first, second = (weights.copy() for weights in chain.weights)
    hidden = np.tanh(0.7 * (inputs @ first))
    wrong = targets - np.tanh(1.0 * (np.c_[hidden, np.ones(3)] @ second))
    np.testing.assert_allclose(chain.learn(inputs, targets), np.mean(wrong**2))


def test_blur_is_the_mean_over_many_flips():
    # one unit of 200 inputs: its field is close to Gaussian, and tanh of one to the closed form
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.06, (1, 201))
    patterns = rng.choice(np.array([-1, 1], np.float32), (4, 200))
    inputs = np.c_[patterns, np.ones(4)]
    chain = TanhChain(values[0], (200, 1), [1.0], blur=0.1)
    chain._forward(inputs)
    copies = np.repeat(patterns, 4000, axis=0)
    flipped = np.empty_like(copies)
    Flips(0.1).damage(copies, rng, flipped)
    sampled = np.tanh(np.c_[flipped, np.ones(len(flipped))] @ values[0]).reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(chain._outputs[-1][:, 0], sampled, atol=0.02)


def test_trials_side_by_side_equal_one_after_the_other():
    def trained(pick):
        chain, inputs, targets = chain_and_lesson((6, 3, 6), (4,), seed=3)
        chain = TanhChain(chain.values[pick].copy(), (6, 3, 6), chain.gains)
        plan = Descent(50, 1e-2)
        losses = descend(
            [Variable(chain.values)], lambda: (chain.learn(inputs[pick], targets[pick]), [chain.slopes]), plan
        )
        return chain.values, losses

    values, losses = trained(slice(None))
    for trial in range(4):
        alone, losses_alone = trained(trial)
        np.testing.assert_allclose(values[trial], alone, rtol=1e-9)
        np.testing.assert_allclose(losses[:, trial], losses_alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("optimiser", "expected"),
    [
        (RmsProp(0.99), [0.1, -0.1]),  # warm: the rate, whatever the slope
        (RmsProp(0.99, warm=False), [1.0, -1.0]),  # 1/√(1 − 0.99) times that, as PyTorch begins
        (Adam(), [0.1, -0.1]),
        (GradientDescent(), [0.4, -0.02]),
    ],
)
def test_the_first_step_of_each_optimiser_is_known(optimiser, expected):
    values = np.zeros(2)
    optimiser.mover(values)(np.array([4.0, -0.2]), 0.1)
    np.testing.assert_allclose(values, -np.array(expected), rtol=1e-4)


def test_optimisers_follow_their_definitions_over_three_steps():
    slopes = [3.0, -1.0, 0.5]
    square = mean = adam = adam_square = rms = 0.0
    for step, slope in enumerate(slopes, 1):
        square = 0.9 * square + 0.1 * slope**2
        rms -= 0.1 * slope / np.sqrt(square)
        mean = 0.9 * mean + 0.1 * slope
        adam_square = 0.999 * adam_square + 0.001 * slope**2
        adam -= 0.1 * (mean / (1 - 0.9**step)) / np.sqrt(adam_square / (1 - 0.999**step))
    for optimiser, expected in ((RmsProp(0.9, warm=False), rms), (Adam(), adam)):
        values = np.zeros(1)
        move = optimiser.mover(values)
        for slope in slopes:
            move(np.array([slope]), 0.1)
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_every_step_stays_within_limits_and_masked_values_stay_zero():
    values = np.array([0.5, -0.5, 0.0], np.float32)
    lower, upper = np.array([0.2, -1, -1], np.float32), np.array([1, 0.1, 1], np.float32)
    kept = np.array([1, 1, 0], np.float32)
    seen = []

    def slopes_of():
        seen.append(values.copy())
        return np.float32(1), [np.array([1, -1, 1], np.float32)]

    descend([Variable(values, 1.0, lower, upper, kept)], slopes_of, Descent(30, 0.1, final=1.0))
    assert all(np.all((v >= lower) & (v <= upper)) and v[2] == 0 for v in seen)
    np.testing.assert_allclose(values, [0.2, 0.1, 0])


@pytest.mark.parametrize("optimiser", [RmsProp(), Adam(), GradientDescent()])
def test_a_variable_of_any_size_and_shape_moves_as_its_values_would_one_by_one(optimiser):
    rng = np.random.default_rng(0)
    shape = (3, 40_001)
    first, slopes, kept = rng.normal(size=shape), rng.normal(size=(5, *shape)), rng.integers(0, 2, shape[1])
    lower, upper = np.full(shape[1], -0.5), rng.uniform(0.4, 0.6, shape)

    def moved(pick):
        values, given = first[:, pick].copy(), iter(slopes[..., pick])
        variable = Variable(values, 1.0, lower[pick], upper[:, pick], kept[pick])
        descend([variable], lambda: (np.ones(1), [next(given).copy()]), Descent(5, 0.1, optimiser=optimiser))
        return values

    whole = moved(slice(None))
    for column in (0, 10_000, 32_767, 32_768, 40_000):
        np.testing.assert_array_equal(whole[:, column], moved(slice(column, column + 1))[:, 0])


def test_a_variable_that_is_not_contiguous_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        descend([Variable(np.zeros((4, 3)).T)], lambda: (np.ones(1), [np.ones((3, 4))]), Descent(1, 0.1))


def test_training_stops_once_every_loss_is_small_enough():
    losses = iter([[1, 0.1], [0.1, 0.01], [0.01, 0.01], [0, 0]])
    values = np.zeros((2, 1))
    told = descend(
        [Variable(values)],
        lambda: (np.array(next(losses)), [np.ones((2, 1))]),
        Descent(100, 0.1, stop_loss=0.05),
    )
    assert len(told) == 3


def test_the_rate_falls_linearly_to_its_final_share():
    values = np.zeros(1)
    seen = []

    def slopes_of():
        seen.append(values[0])
        return np.float32(1), [np.ones(1)]

    descend([Variable(values)], slopes_of, Descent(4, 1.0, final=0.2, optimiser=GradientDescent()))
    np.testing.assert_allclose(np.diff([*seen, values[0]]), [-1, -0.8, -0.6, -0.4])


def test_every_pattern_is_shown_once_before_any_is_again():
    patterns = np.arange(10, dtype=np.float32)[:, None] / 10
    lessons = Lessons(patterns, Clean(), batch=5)(np.random.default_rng(0))
    for _ in range(3):
        both = np.concatenate([next(lessons)[1].copy() for _ in range(2)])
        np.testing.assert_array_equal(np.sort(both, axis=0), patterns)


def test_noise_has_the_size_asked_for_and_stays_in_range():
    ones = np.ones((200, 500), np.float32)
    out = np.empty_like(ones)
    Flips(0.05).damage(ones, np.random.default_rng(0), out)
    assert np.mean(out == -1) == pytest.approx(0.05, abs=0.0025)  # 3.6 σ of 100 000
    Gaussian(0.6).damage(0 * ones, np.random.default_rng(0), out)
    assert np.abs(out).max() == 1
    assert np.mean(np.abs(out) < 0.6) == pytest.approx(0.6827, abs=0.006)
