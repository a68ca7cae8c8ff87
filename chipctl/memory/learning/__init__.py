"""Learning rules and float recall: arrays in, arrays out; this package knows no chip.

Weights are in units of the conductance span (150 µS): a healthy differential pair holds
w = g⁺ − g⁻ in [−1, 1]. Biases are in the same units times the read voltage. Shapes may have
leading axes: independent memories trained or recalled in one go.
"""

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.classical import hebbian, pseudo_inverse, storkey
from chipctl.memory.learning.layers import Hidden, Layer, activate, forward
from chipctl.memory.learning.paper import Paper
from chipctl.memory.learning.recall import Recall, flip, recall, settle
from chipctl.memory.learning.robust import Robust
from chipctl.memory.learning.training import RULES, Rule, TrainedMemory, train

__all__ = [
    "RULES",
    "Box",
    "Hidden",
    "Layer",
    "Paper",
    "Recall",
    "Robust",
    "Rule",
    "TrainedMemory",
    "activate",
    "flip",
    "forward",
    "hebbian",
    "pseudo_inverse",
    "recall",
    "settle",
    "storkey",
    "train",
]
