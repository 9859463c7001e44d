"""Initial value problems solved in parallel in time.

`parivp.solve_ivp` is a drop-in for `scipy.integrate.solve_ivp`.
"""

from ._dense_output import OdeSolution
from ._ivp import solve_ivp
from ._result import OdeResult
from ._scan import affine_scan
from ._scan_newton import ScanNewton
from ._tableaus import TABLEAUS, ButcherTableau

__version__ = "0.1.0"

__all__ = [
    "TABLEAUS",
    "ButcherTableau",
    "OdeResult",
    "OdeSolution",
    "ScanNewton",
    "affine_scan",
    "solve_ivp",
]
