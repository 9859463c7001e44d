"""Initial value problems solved in parallel in time.

`parivp.solve_ivp` is a drop-in for `scipy.integrate.solve_ivp`.
"""

from ._butcher import ButcherTableau
from ._dense_output import OdeSolution
from ._flow_map import FlowMap, fit_flow_map
from ._ivp import solve_ivp
from ._parode import ParODE
from ._result import OdeResult
from ._scan import affine_scan
from ._scan_newton import ScanNewton
from ._scan_newton_implicit import ScanNewtonImplicit
from ._tableaus import TABLEAUS

__version__ = "0.1.0"

__all__ = [
    "TABLEAUS",
    "ButcherTableau",
    "FlowMap",
    "OdeResult",
    "OdeSolution",
    "ParODE",
    "ScanNewton",
    "ScanNewtonImplicit",
    "affine_scan",
    "fit_flow_map",
    "solve_ivp",
]
