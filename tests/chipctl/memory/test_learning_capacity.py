import pickle
from dataclasses import replace

import numpy as np
import pytest

from chipctl.memory.answers import Answer, Answers, measure
from chipctl.memory.capacity import Faults, Question, capacity, largest, recall_cosines, similarities, store
from chipctl.memory.digits import choosing_part, load_digits, reporting_part, to_greys, to_patterns
from chipctl.memory.learning import Classical, Flips, Gaussian, Paper
from chipctl.memory.sweeps import FIGURES, Point, exponent, rows

HEBB = Question(Classical("hebbian"), (64, 64), "random")


@pytest.mark.parametrize("guess", [1, 5, 30, 400, 9999])
@pytest.mark.parametrize("most", [0, 1, 7, 33, 500])
def test_the_search_finds_the_largest_number_that_holds(guess, most):
    asked = []

    def holds(patterns):
        assert patterns >= 1
        asked.append(patterns)
        return patterns <= most

    found = largest(holds, guess, 500)
    assert 0.97 * most <= found <= most
    assert len(asked) == len(set(asked)) < 20


def test_a_capacity_is_where_the_mean_cosine_crosses():
    found = capacity(HEBB, guess=3)
    assert similarities(HEBB, found).mean() > 0.99 >= similarities(HEBB, found + 1).mean()


def test_cosines_are_of_every_pattern_and_draw():
    # the identity keeps every cue: 1 − 2 · 5 % on average
    question = replace(HEBB, noise=Flips(0.05), rule=Classical("pseudo_inverse"), self_connection=True)
    stored = question.patterns()[:64]
    cosines = recall_cosines(question, store(question, 64), stored)
    assert cosines.shape == (32, 64)
    assert cosines.mean() == pytest.approx(0.9, abs=0.005)


def test_parts_share_no_digit_and_no_random_numbers():
    digits = load_digits()
    choosing, reporting = choosing_part(digits).images, reporting_part(digits).images
    assert len(choosing) == len(reporting) == 2500
    assert not set(map(bytes, choosing)) & set(map(bytes, reporting))
    other = replace(HEBB, part="choosing")
    assert not np.array_equal(HEBB.patterns()[:5], other.patterns()[:5])


def test_seeds_change_everything_and_equal_seeds_nothing():
    def seen(seed):
        question = replace(HEBB, seed=seed, faults=Faults(0.3))
        return question.patterns()[:4], question.boxes()[0].upper, similarities(question, 12)

    for one, same, other in zip(seen(1), seen(1), seen(2), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_digits_need_a_square():
    with pytest.raises(ValueError, match="digits are square: 50"):
        replace(HEBB, sizes=(50, 50), source="digits").patterns()


def test_greys_threshold_to_the_binary_patterns():
    images = load_digits().images[:20]
    greys = to_greys(images, 10)
    assert greys.min() == -1
    bright = np.where(greys > greys.mean(axis=1, keepdims=True), 1, -1)
    np.testing.assert_array_equal(bright, to_patterns(images, 10))


@pytest.mark.parametrize("law", ["uniform", "rails", "chip"])
def test_devices_are_stuck_one_by_one(law):
    (box,) = Faults(0.3, law).boxes((200, 200), np.random.default_rng(0))
    whole, dead = box.healthy, box.lower == box.upper
    assert whole.mean() == pytest.approx(0.49, abs=0.01)
    assert dead.mean() == pytest.approx(0.09, abs=0.006)
    one = ~whole & ~dead
    np.testing.assert_allclose((box.upper - box.lower)[one], 1, rtol=1e-6)
    highest = {"uniform": 1, "rails": 1, "chip": 400 / 150}[law]
    assert 0.97 * highest < box.upper.max() <= highest


def test_single_layers_have_no_self_connection_unless_asked_for():
    free = replace(HEBB, self_connection=True).boxes()[0]
    assert free.healthy.all()
    assert not HEBB.boxes()[0].upper.diagonal().any()
    deep = replace(HEBB, sizes=(64, 64, 64)).boxes()
    assert all(box.healthy.all() for box in deep)


def test_variation_moves_weights_by_that_of_two_devices():
    question = replace(HEBB, variation=15e-6)
    plain, moved = store(HEBB, 3)[0], store(question, 3)[0]
    assert np.std(moved.weights - plain.weights) == pytest.approx(np.sqrt(2) * 0.1, rel=0.03)


def test_continuous_questions_are_recalled_by_tanh():
    rule = Paper(steps=800, rate=3e-3)
    question = Question(rule, (64, 32, 64), "digits", Gaussian(0.3))
    assert np.unique(question.patterns()[:20]).size > 100
    assert similarities(question, 2).mean() > 0.95


def test_every_figure_has_a_point_for_each_seed_and_no_two_alike():
    for name, figure in FIGURES.items():
        points = figure(range(2))
        assert {point.figure for point in points} == {name}
        assert len({(point.series, point.at, point.question.seed) for point in points}) == len(points)
        assert len({point.key for point in points}) == len(points)
        assert "0x" not in "".join(point.key for point in points)
        assert pickle.loads(pickle.dumps(points)) == points


def points():
    return [Point("f", "Hebb", count, replace(HEBB, seed=seed), count) for count in (2, 4) for seed in (0, 1)]


def test_answers_are_kept_and_not_asked_again_after_a_kill(tmp_path):
    file = tmp_path / "answers.jsonl"
    whole = list(measure(points(), Answers(file)))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])  # killed while it wrote the third
    asked = []

    def backwards(function, some):
        asked.extend(some)
        return [function(point) for point in reversed(some)]

    again = list(measure(points(), Answers(file), backwards))
    assert [point.at for point in asked] == [4, 4]
    assert {(a.task.key, a.value) for a in again} == {(a.task.key, a.value) for a in whole}
    assert not list(measure([], Answers(file)))
    assert all(Answers(file).find(point) for point in points())


def test_rows_gather_seeds_and_tell_an_exponent():
    answers = [
        Answer(Point("f", "s", at, replace(HEBB, seed=seed)), 3 * at**1.5 + seed - 1, 0.0)
        for at in (10, 40)
        for seed in (2, 0, 1)
    ]
    gathered = rows(answers)
    assert [row.at for row in gathered] == [10, 40]
    assert gathered[0].values == pytest.approx([93.87, 94.87, 95.87], abs=0.01)
    assert gathered[0].spread == pytest.approx(np.sqrt(2 / 3))
    assert exponent(gathered) == pytest.approx(1.5)
