"""What cannot be stored is refused before the chip notices; what is asked for is what is trained."""

import numpy as np
import pytest

from chipctl.faults import ScanSchedule
from chipctl.memory.learning import (
    Aware,
    Classical,
    EquilibriumPropagation,
    Flips,
    Gaussian,
    OptimalStability,
    Paper,
    Robust,
)
from chipctl.memory.store import Storing, store
from chipctl.memory.storing import FLIPS, NOISE, as_patterns
from chipctl.profile import FaultMap
from chipctl.schedules import PulseSchedule

SIGNS = np.random.default_rng(1).choice([-1, 1], (3, 16)).astype(np.int8)
GREYS = np.random.default_rng(2).uniform(-1, 1, (3, 16))


@pytest.fixture
def scanned(make_chip):
    chip = make_chip("ideal", seed=5)
    for array in range(3):
        chip.profile.set_fault_map(array, FaultMap.none(64, 64))
    return chip


@pytest.mark.parametrize(
    ("patterns", "what"),
    [
        (SIGNS * 2.0, "from -2 to 2"),
        (np.where(SIGNS > 0, np.nan, -1.0), "not finite"),
        (np.where(SIGNS > 0, 255, 0).astype(np.uint8), "from 0 to 255"),
        ((SIGNS > 0).astype(np.uint8), "are 0 and 1, but states are -1 and 1"),
        ((SIGNS > 0) * 1.0, "are 0 and 1"),
        (SIGNS > 0, "are 0 and 1"),
        (np.full((2, 16), -128, np.int8), "from -128 to -128"),
        (np.vstack([GREYS, np.zeros(16)]), "0 everywhere"),
        (SIGNS[0], r"\(patterns, neurons\)"),
        (SIGNS[:0], r"\(patterns, neurons\)"),
        (SIGNS[None], r"\(patterns, neurons\)"),
        (SIGNS * 1j, "not complex"),
        ("digits", "are numbers"),
        (None, "are numbers"),
        ([[1, -1], [1]], "equal length"),
    ],
)
def test_patterns_that_are_none_are_refused_before_a_byte_is_sent(make_chip, patterns, what):
    chip = make_chip("good", seed=5)
    sent = chip.board.link_statistics().bytes_out
    with pytest.raises(ValueError, match=what):
        store(chip, patterns)
    assert chip.board.link_statistics().bytes_out == sent


@pytest.mark.parametrize(
    ("patterns", "how", "what"),
    [
        (SIGNS, Storing((8,), rule=Classical("hebbian")), "Classical knows one layer only"),
        (SIGNS, Storing((8,), rule=OptimalStability()), "OptimalStability knows one layer only"),
        (SIGNS, Storing((8,), rule=EquilibriumPropagation()), "EquilibriumPropagation knows one layer only"),
        (GREYS, Storing(rule=Robust()), "Robust stores patterns of ±1 only"),
        (GREYS, Storing(rule=Classical("storkey")), "Classical stores patterns of ±1 only"),
        (SIGNS, Storing(cue_noise=0.5), "below 0.5"),
        (SIGNS, Storing(rule=Paper(), cue_noise=2), "below 0.5"),
        (SIGNS, Storing(schedule=PulseSchedule(set_width=1.0)), "pulse width"),
        (SIGNS, Storing(scan=ScanSchedule(width=1.0)), "pulse width"),
        (SIGNS, Paper(), "said by a Storing"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_anything_is_pulsed(make_chip, patterns, how, what):
    chip = make_chip("good", seed=5)
    with pytest.raises(ValueError, match=what):
        store(chip, patterns, how)
    assert chip.board.state().total_pulses == 0
    assert chip.profile.arrays[0].scanned is None


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"hidden": 16}, r"as \(16,\), not 16"),
        ({"hidden": (2.5,)}, "hidden is the neurons"),
        ({"hidden": (0,)}, "one neuron or more"),
        ({"units": "relu"}, "sign or tanh"),
        ({"rule": "paper"}, "not 'paper'"),
        ({"rule": Paper}, "with its settings"),
        ({"cue_noise": -1}, "0 or more"),
        ({"cue_noise": np.nan}, "0 or more"),
        ({"reads": 0}, "reads is a whole number from 1 to 64"),
        ({"rehearsals": -1}, "rehearsals is a whole number"),
        ({"seed": -1}, "seed is a whole number"),
        ({"seed": 0.5}, "seed is a whole number"),
        ({"schedule": "fast"}, "schedule is a PulseSchedule"),
        ({"scan": None}, "scan is a ScanSchedule"),
    ],
)
def test_a_choice_that_suits_no_patterns_is_refused_where_it_is_made(options, what):
    with pytest.raises(ValueError, match=what):
        Storing(**options)


def test_lists_are_patterns_and_layers_too(scanned):
    how = Storing([8], rule=Aware(steps=50), rehearsals=1)
    assert how.hidden == (8,)
    memory = store(scanned, SIGNS.tolist(), how)
    assert memory.patterns.dtype == np.int8
    assert memory.placement.sizes == (16, 8, 16)


def test_what_the_default_rules_train_with_is_what_was_asked_for():
    signs, greys = as_patterns(SIGNS), as_patterns(GREYS)
    assert greys.dtype == np.float32
    asked = Storing(cue_noise=0.3, seed=4)
    assert (asked.rule_for(signs).flip_probability, asked.rule_for(signs).seed) == (0.3, 4)
    assert (asked.rule_for(greys).noise, asked.rule_for(greys).seed) == (Gaussian(0.3), 4)
    assert Storing().noise(signs) == Flips(FLIPS)
    assert Storing().rule_for(greys).noise == Storing().noise(greys) == Gaussian(NOISE)


def test_rehearsals_are_as_damaged_as_the_cues_to_come():
    how = Storing(cue_noise=0.2, rehearsals=400)
    flipped = how.rehearsal(as_patterns(SIGNS)) != np.repeat(SIGNS, 400, axis=0)
    assert flipped.mean() == pytest.approx(0.2, abs=0.01)
    quiet = GREYS / 4  # far from where noise is clipped
    shifts = how.rehearsal(as_patterns(quiet)) - np.repeat(quiet, 400, axis=0)
    assert shifts.std() == pytest.approx(0.2, rel=0.03)


def test_seed_and_noise_make_other_weights_of_continuous_patterns(scanned):
    def weights(**options):
        return store(scanned, GREYS, Storing(rehearsals=0, **options)).layers[0].weights

    one = weights(seed=1)
    np.testing.assert_array_equal(weights(seed=1), one)
    assert not np.array_equal(weights(seed=2), one)
    assert not np.array_equal(weights(seed=1, cue_noise=0.2), one)


def test_neurons_drive_themselves_unless_told(scanned):
    rule = Aware(steps=50)
    own = [
        np.abs(np.diag(store(scanned, SIGNS, Storing(rule=rule, rehearsals=0, **more)).held()[0].weights))
        for more in ({}, {"self_connection": False})
    ]
    assert own[0].mean() > 0.1
    assert own[1].mean() < 0.05
    layers = store(scanned, SIGNS, Storing((16,), rule=rule, rehearsals=0, self_connection=False)).layers
    assert np.abs(np.diag(layers[0].weights)).min() > 0  # hidden units are no neurons' own
