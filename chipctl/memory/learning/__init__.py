"""Learning rules and float recall: arrays in, arrays out; this package knows no chip.

Weights are in units of the conductance span (150 µS): a healthy differential pair holds
w = g⁺ − g⁻ in [−1, 1]. Biases are in the same units times the read voltage. Shapes may have
leading axes: independent memories trained or recalled in one go.
"""

from chipctl.memory.learning.aware import Aware
from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.classical import Classical, hebbian, pseudo_inverse, storkey
from chipctl.memory.learning.descent import Adam, GradientDescent, RmsProp
from chipctl.memory.learning.equilibrium import EquilibriumPropagation
from chipctl.memory.learning.layers import Hidden, Layer, activate, forward
from chipctl.memory.learning.noise import Clean, Flips, Gaussian, Noise
from chipctl.memory.learning.paper import Paper
from chipctl.memory.learning.recall import Recall, converge, flip, recall, relax, settle
from chipctl.memory.learning.robust import Robust
from chipctl.memory.learning.stability import OptimalStability
from chipctl.memory.learning.training import RULES, Rule, TrainedMemory, train

__all__ = [
    "RULES",
    "Adam",
    "Aware",
    "Box",
    "Classical",
    "Clean",
    "EquilibriumPropagation",
    "Flips",
    "Gaussian",
    "GradientDescent",
    "Hidden",
    "Layer",
    "Noise",
    "OptimalStability",
    "Paper",
    "Recall",
    "RmsProp",
    "Robust",
    "Rule",
    "TrainedMemory",
    "activate",
    "converge",
    "flip",
    "forward",
    "hebbian",
    "pseudo_inverse",
    "recall",
    "relax",
    "settle",
    "storkey",
    "train",
]
