"""A memory fits corrections of its own: what the profile knows is not put on top of them."""

import numpy as np

from chipctl.mapping import array_targets, place
from chipctl.memory.associative import AssociativeMemory
from chipctl.memory.learning import Robust, train
from chipctl.profile import FaultMap

PATTERNS = np.random.default_rng(3).choice([-1, 1], (6, 64)).astype(np.int8)


def memory_on(bench, layers):
    return AssociativeMemory(bench.chip, place((64, 64), 3, 64, 64), layers, "sign")


def test_a_recall_is_the_same_with_a_calibrated_profile_and_without(make_bench, calibrated):
    layers = train(PATTERNS, (64, 64), rule=Robust(steps=30, hidden="sign", seed=1)).layers
    healthy = {array: FaultMap.none(64, 64) for array in range(3)}
    weights = [layer.weights for layer in layers]
    targets = array_targets(place((64, 64), 3, 64, 64), weights, healthy)[0].target
    known, twin = (make_bench(seed=4, conductance=targets) for _ in range(2))
    calibrated(known, "adcs", "zeros", "products")
    calibrated(twin, "adcs", "zeros", "products")
    twin.chip.profile = type(twin.chip.profile).nominal("good-4", 3, 64, 64)
    fields, recalls = [], []
    for bench in (known, twin):
        memory = memory_on(bench, layers)
        memory.calibrate(PATTERNS)
        fields.append(memory.fields(PATTERNS))
        recalls.append([memory.recall(PATTERNS, on_board=place_).final for place_ in (False, True)])
    assert known.chip.columns(0).is_calibrated
    assert not twin.chip.columns(0).is_calibrated
    assert (fields[0] == fields[1]).all()
    assert (np.array(recalls[0]) == np.array(recalls[1])).all()
