"""Speed of training beside the same training in PyTorch, one thread each, in turns."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_least, cpu_side_by_side
from chipctl.memory.learning import Box, Paper, RmsProp

TRIALS = {64: 12, 400: 2}
"""Memories trained in one array: as many as a core's cache holds."""

STEPS = {64: 1000, 400: 200}
"""Per timed call; what starts a training is counted in."""

SIZES = ((64, 10), (400, 100))
"""Neurons, patterns."""

LEAST = {64: 8.0, 400: 2.0}
LEAST_BATCHED = {64: 30.0}
QUICK = 0.7
"""Share of these ratios that a quick run, which may share its machine, is held to: work beside it slows the
arithmetic, ours, more than PyTorch's dispatching."""
NO_TORCH = "torch is not installed: pip install 'chipctl[torch]'"
MEMORY = 0.98
STOP = 1e-8
"""Loss at which the published training stops: not reached here, but looked at in every step."""
MASKED = 0.1
"""Share of weights with a stuck device: the published training keeps them at zero."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Steps of eq. (5) with RMSprop: ours, PyTorch's, and what ours takes of PyTorch's time."""
    torch = _torch()
    for neurons, patterns in SIZES:
        calls = {
            "ours": _ours(neurons, patterns, ()),
            "batched": _ours(neurons, patterns, (TRIALS[neurons],)),
        }
        if torch is not None:
            calls["torch"] = _torch_training(torch, neurons, patterns)
        samples = 3 if plan.scale is Scale.QUICK else 15
        seconds = {name: taken / STEPS[neurons] for name, taken in cpu_side_by_side(calls, samples).items()}
        seconds["batched"] /= TRIALS[neurons]
        label = f"N = {neurons}, {patterns} patterns"
        for name, taken in seconds.items():
            yield Measured(f"training step, {label}, {name}", "s", ANY, (taken,))
        share = QUICK if plan.scale is Scale.QUICK else 1.0
        for name, least in (("ours", LEAST.get(neurons)), ("batched", LEAST_BATCHED.get(neurons))):
            bound = ANY if least is None else at_least(share * least)
            yield _ratio(f"PyTorch's training step over ours, {label}, {name}", bound, name, seconds)


def _ratio(title: str, bound: Bound, name: str, seconds: dict[str, float]) -> Measured:
    if "torch" not in seconds:
        return Measured(title, "×", bound, reason=NO_TORCH)
    return Measured(title, "×", bound, (seconds["torch"] / seconds[name],))


def _patterns(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([-1, 1], np.float32), shape)


def _masked(neurons: int) -> np.ndarray:
    return np.random.default_rng(1).random((neurons, neurons)) < MASKED


def _ours(neurons: int, patterns: int, trials: tuple[int, ...]) -> Callable[[], object]:
    states = _patterns((*trials, patterns, neurons))
    rule = Paper(STEPS[neurons], optimiser=RmsProp(MEMORY), stop_loss=STOP)
    boxes = [Box.free(neurons, neurons).fixed(_masked(neurons))]
    return lambda: rule.fit(states, boxes)


def _torch() -> Any:
    try:
        torch = import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def _torch_training(torch: Any, neurons: int, patterns: int) -> Callable[[], object]:
    """The published rule as one writes it in PyTorch: Linear, tanh, mask, mean square error, RMSprop."""
    states = torch.from_numpy(_patterns((patterns, neurons)))

    def train() -> None:
        layer = torch.nn.Linear(neurons, neurons)
        kept = torch.from_numpy(~_masked(neurons)).float()
        optimiser = torch.optim.RMSprop(layer.parameters(), lr=1e-3, alpha=MEMORY)
        error = torch.nn.MSELoss()
        for _ in range(STEPS[neurons]):
            optimiser.zero_grad()
            fields = torch.nn.functional.linear(states, layer.weight * kept, layer.bias)
            loss = error(torch.tanh(fields), states)
            loss.backward()
            optimiser.step()
            if loss.item() < STOP:
                break

    return train
