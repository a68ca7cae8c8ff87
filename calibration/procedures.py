"""The calibration procedures there are, in the order in which they are run."""

from calibration.adcs import ADCS
from calibration.choosing import known_names
from calibration.fluctuation import FLUCTUATION
from calibration.gate import GATE
from calibration.lines import LINES
from calibration.procedure import Procedure
from calibration.products import PRODUCTS
from calibration.rails import RAILS
from calibration.thresholds import THRESHOLDS
from calibration.tias import TIAS
from calibration.transistor import TRANSISTOR
from calibration.zeros import ZEROS

_ALL: tuple[Procedure, ...] = (
    RAILS,
    ADCS,
    ZEROS,
    TIAS,
    LINES,
    TRANSISTOR,
    GATE,
    THRESHOLDS,
    FLUCTUATION,
    PRODUCTS,
)
"""Those that change devices come before what is measured of the map they leave."""

PROCEDURES: dict[str, Procedure] = {procedure.name: procedure for procedure in _ALL}


def in_order(names: list[str], *, everything: bool = False) -> list[Procedure]:
    """The procedures of these names and those they build on, in the order in which they do.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    wanted = set(known_names(names, PROCEDURES, everything=everything, purpose="calibrate"))
    for procedure in reversed(PROCEDURES.values()):
        if procedure.name in wanted:
            wanted |= {*procedure.needs, *procedure.helped_by}
    return [procedure for name, procedure in PROCEDURES.items() if name in wanted]
