"""Virtual chips whose parameters nobody was told: drawn around the presets, reached by the wire alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from chipctl.chip import Chip
from chipctl.link import Link
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.parameters import (
    ChipParameters,
    ConverterParameters,
    FaultShares,
    FluctuationParameters,
    Spread,
    SwitchingParameters,
    WireParameters,
)
from sim_chip.presets import preset
from sim_chip.server import Endpoint


def hidden_parameters(seed: int) -> ChipParameters:
    """A kind of chip of its own: what differs from chip to chip is drawn around the preset `good`.

    Some have ADCs that are more bent than a chip's should be, and are measured all the same.
    """
    rng = np.random.default_rng((seed, 0x7717))
    base = SwitchingParameters()

    def about(spread: Spread, sigma: float, *, relative: bool = False) -> Spread:
        shift = rng.uniform(-sigma, sigma)
        nominal = spread.nominal * np.exp(shift) if relative else spread.nominal + shift
        return Spread(float(nominal), float(spread.sigma * rng.uniform(0.6, 1.5)))

    switching = replace(
        base,
        threshold=about(base.threshold, 0.05),
        transconductance=about(base.transconductance, 0.25, relative=True),
        set_threshold=about(base.set_threshold, 0.15),
        reset_reference=about(base.reset_reference, 0.08),
        reset_steepness=about(base.reset_steepness, 0.25, relative=True),
        set_jitter=float(rng.uniform(0.05, 0.12)),
        reset_jitter=float(rng.uniform(0.08, 0.25)),
    )
    return replace(
        preset("good"),
        name=f"hidden-{seed}",
        switching=switching,
        fluctuation=FluctuationParameters(offset=float(rng.uniform(-3.6, -2.5))),
        wires=WireParameters(
            segment_ohms=float(rng.uniform(0.4, 1.6)),
            driver_ohms=float(rng.uniform(25, 80)),
            tia_ohms=float(rng.uniform(10, 40)),
        ),
        converters=ConverterParameters(
            offset_lsb=Spread(float(rng.uniform(-4, 2)), float(rng.uniform(0.5, 2.5))),
            inl_lsb=float(rng.uniform(0.5, 6.0)),
            noise_lsb=float(rng.uniform(0.4, 1.2)),
        ),
        faults=FaultShares(*(float(share) for share in rng.uniform(0, [0.03, 0.04, 0.01]))),
    )


@contextmanager
def opened(truth: VirtualChip) -> Iterator[Chip]:
    """A driver of a virtual chip, with every byte of the wire in between."""
    mcu = VirtualMcu(truth)
    board = SimpleNamespace(mcu=mcu, close=mcu.power_down)
    with Link(Endpoint(f"sim://{truth.parameters.name}", board)) as link:  # type: ignore[arg-type]
        yield Chip.over(link)
