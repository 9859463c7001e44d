"""Initial value problems with known end points, for the demo, tests and benchmarks.

Every right-hand side is written as for SciPy, ``fun(t, y)`` with scalar `t` and
`y` of shape (n,), and also broadcasts over time: with `t` of shape (m,) and `y`
of shape (n, m) it returns (n, m), a Jacobian (n, n, m).

An end point is either exact, or published, or computed with 40 digits by
``python -m benchmarks.references`` from the double-precision values of the
parameters, of `y0` and of `t_span`, so that it is the solution of the very
problem that a double-precision solver is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# A component much smaller than the largest one is measured against this
# fraction of it: a zero crossing at the end point would otherwise decide.
_SMALL_COMPONENT = 1e-3


@dataclass(frozen=True)
class Problem:
    """An initial value problem ``y' = fun(t, y)``, ``y(t_span[0]) = y0``.

    Attributes
    ----------
    name : str
        Key in `PROBLEMS`.
    fun : callable
        Right-hand side; broadcasts over time.
    t_span : tuple of float
        First and last time.
    y0 : tuple of float
        Initial state.
    tags : frozenset of str
        Any of "nonstiff", "stiff", "chaotic", "paper"; "paper" marks the
        examples of the papers the methods come from.
    reference : tuple of float or callable
        State at ``t_span[1]``, or the exact solution ``exact(t)``.
    source : str
        Where the problem and its reference come from.
    jac : callable or None
        Jacobian ``jac(t, y)``, of shape (n, n) or (n, n, m).
    dt : float or None
        Step of the papers' fixed-step mode.
    initial_guess : float or None
        The papers' constant initial guess of Newton's method for that mode.
    """

    name: str
    fun: Callable[[Any, Any], Any]
    t_span: tuple[float, float]
    y0: tuple[float, ...]
    tags: frozenset[str]
    reference: tuple[float, ...] | Callable[[float], Any]
    source: str
    jac: Callable[[Any, Any], Any] | None = None
    dt: float | None = None
    initial_guess: float | None = None

    @property
    def stiff(self) -> bool:
        """Whether the problem is meant for implicit methods."""
        return "stiff" in self.tags

    @property
    def end_point(self) -> np.ndarray:
        """Reference state at the end of `t_span`, shape (n,)."""
        if callable(self.reference):
            return np.asarray(self.reference(self.t_span[1]), dtype=float)
        return np.array(self.reference, dtype=float)

    def error(self, y_end: Any) -> float:
        """Largest relative error of an end point over its components.

        Component i is measured relative to
        ``max(|ref_i|, 1e-3 * max_j |ref_j|)``; where the reference is zero
        throughout, the error is absolute.
        """
        ref = self.end_point
        scale = np.maximum(np.abs(ref), _SMALL_COMPONENT * np.abs(ref).max())
        scale[scale == 0] = 1.0
        return float((np.abs(np.asarray(y_end) - ref) / scale).max())


def _matrix(n: int, *entries: Any) -> np.ndarray:
    """Assemble n*n entries, numbers or arrays over time, row by row."""
    stacked = np.stack(np.broadcast_arrays(*entries))
    return stacked.reshape(n, n, *stacked.shape[1:])


def _logistic(t, y):
    return y * (1 - y)


def _logistic_jac(t, y):
    return _matrix(1, 1 - 2 * y[0])


def _van_der_pol(mu: float) -> tuple[Callable, Callable]:
    def fun(t, y):
        return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]

    def jac(t, y):
        return _matrix(2, 0.0, 1.0, -2 * mu * y[0] * y[1] - 1, mu * (1 - y[0] ** 2))

    return fun, jac


def _cart_pole(t, y, g=9.81, length=0.5, m_cart=10.0, m_pole=1.0):
    # State: position, angle, their rates. The first equation is printed in the
    # paper with the angular rate not squared, which is dimensionally wrong.
    _, angle, velocity, rate = y
    s, c = np.sin(angle), np.cos(angle)
    mass = m_cart + m_pole * s**2
    return [
        velocity,
        rate,
        m_pole * s * (length * rate**2 + g * c) / mass,
        (-m_pole * length * rate**2 * c * s - (m_cart + m_pole) * g * s)
        / (length * mass),
    ]


def _dahlquist(t, y):
    return -1000.0 * y


def _dahlquist_jac(t, y):
    return _matrix(1, -1000.0 + 0.0 * y[0])


def _robertson(t, y):
    slow, fast, back = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
    return [back - slow, slow - fast - back, fast]


def _robertson_jac(t, y):
    a, b, c = 6e7 * y[1], 1e4 * y[2], 1e4 * y[1]
    return _matrix(3, -0.04, b, c, 0.04, -a - b, -c, 0.0, a, 0.0)


def _parode_toy(t, y):
    return -(y**3) + np.sin(t)


def _parode_toy_jac(t, y):
    return _matrix(1, -3 * y[0] ** 2)


def _lotka_volterra(t, y):
    return [1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3 * y[1]]


def _lotka_volterra_jac(t, y):
    return _matrix(2, 1.5 - y[1], -y[0], y[1], y[0] - 3)


def _arenstorf(t, y, mu=0.012277471):
    x, z, vx, vz = y
    d1 = ((x + mu) ** 2 + z**2) ** 1.5
    d2 = ((x - (1 - mu)) ** 2 + z**2) ** 1.5
    return [
        vx,
        vz,
        x + 2 * vz - (1 - mu) * (x + mu) / d1 - mu * (x - (1 - mu)) / d2,
        z - 2 * vx - (1 - mu) * z / d1 - mu * z / d2,
    ]


_STARS = np.arange(7)
_STAR_MASSES = np.arange(1.0, 8.0)


def _pleiades(t, y):
    x, z = y[:7], y[7:14]
    dx, dz = x[:, None] - x, z[:, None] - z
    cubed = (dx**2 + dz**2) ** 1.5
    cubed[_STARS, _STARS] = 1.0  # a star does not attract itself
    return np.concatenate(
        [
            y[14:],
            np.tensordot(_STAR_MASSES, dx / cubed, 1),
            np.tensordot(_STAR_MASSES, dz / cubed, 1),
        ]
    )


def _lorenz(t, y):
    return [
        10.0 * (y[1] - y[0]),
        y[0] * (28.0 - y[2]) - y[1],
        y[0] * y[1] - 8.0 / 3.0 * y[2],
    ]


def _lorenz_jac(t, y):
    return _matrix(
        3, -10.0, 10.0, 0.0, 28.0 - y[2], -1.0, -y[0], y[1], y[0], -8.0 / 3.0
    )


def _brusselator(t, y):
    reaction = y[0] ** 2 * y[1]
    return [1 + reaction - 4 * y[0], 3 * y[0] - reaction]


def _brusselator_jac(t, y):
    a, b = 2 * y[0] * y[1], y[0] ** 2
    return _matrix(2, a - 4, b, 3 - a, -b)


def _hires(t, y):
    y1, y2, y3, y4, y5, y6, y7, y8 = y
    binding = 280 * y6 * y8
    return [
        -1.71 * y1 + 0.43 * y2 + 8.32 * y3 + 0.0007,
        1.71 * y1 - 8.75 * y2,
        -10.03 * y3 + 0.43 * y4 + 0.035 * y5,
        8.32 * y2 + 1.71 * y3 - 1.12 * y4,
        -1.745 * y5 + 0.43 * y6 + 0.43 * y7,
        -binding + 0.69 * y4 + 1.71 * y5 - 0.43 * y6 + 0.69 * y7,
        binding - 1.81 * y7,
        1.81 * y7 - binding,
    ]


def _oregonator(t, y):
    return [
        77.27 * (y[1] + y[0] * (1 - 8.375e-6 * y[0] - y[1])),
        (y[2] - (1 + y[0]) * y[1]) / 77.27,
        0.161 * (y[0] - y[2]),
    ]


def _oregonator_jac(t, y):
    return _matrix(
        3,
        77.27 * (1 - 1.675e-5 * y[0] - y[1]),
        77.27 * (1 - y[0]),
        0.0,
        -y[1] / 77.27,
        -(1 + y[0]) / 77.27,
        1 / 77.27,
        0.161,
        0.0,
        -0.161,
    )


_vdp, _vdp_jac = _van_der_pol(1.0)
_vdp_stiff, _vdp_stiff_jac = _van_der_pol(1000.0)

_NONSTIFF = frozenset({"nonstiff"})
_STIFF = frozenset({"stiff"})
_PAPER = frozenset({"paper"})
_NEWTON_PAPER = "Iacob, Razavi, Sarkka, A parallel-in-time Newton's method, section 4"
_BARI = "Bari IVP test set"
_COMPUTED = "end point from benchmarks/references.py"

_ALL = (
    Problem(
        name="logistic",
        fun=_logistic,
        jac=_logistic_jac,
        t_span=(0.0, 10.0),
        y0=(0.1,),
        tags=_NONSTIFF | _PAPER,
        reference=lambda t: [1 / (1 + 9 * np.exp(-t))],
        source=f"{_NEWTON_PAPER}, (61); exact",
        dt=1e-2,
        initial_guess=1.0,
    ),
    Problem(
        name="van_der_pol",
        fun=_vdp,
        jac=_vdp_jac,
        t_span=(0.0, 10.0),
        y0=(0.0, 1.0),
        tags=_NONSTIFF | _PAPER,
        reference=(-0.43932322661214024, -2.543931120874795),
        source=f"{_NEWTON_PAPER}, (62); {_COMPUTED}",
        dt=1e-2,
        initial_guess=1.0,
    ),
    Problem(
        name="cart_pole",
        fun=_cart_pole,
        t_span=(0.0, 4.0),
        y0=(0.0, float(np.pi / 2), 0.0, 0.0),
        tags=_NONSTIFF | _PAPER,
        reference=(
            *(0.09043667441247717, -1.4264965280367268),
            *(0.015541275390518545, -2.3776714168810784),
        ),
        source=f"{_NEWTON_PAPER}, (63); {_COMPUTED}",
        dt=1e-2,
        initial_guess=0.0,
    ),
    Problem(
        name="dahlquist",
        fun=_dahlquist,
        jac=_dahlquist_jac,
        t_span=(0.0, 4.0),
        y0=(1.0,),
        tags=_STIFF | _PAPER,
        reference=lambda t: [np.exp(-1000 * t)],
        source=f"{_NEWTON_PAPER}, (64); exact",
        dt=1e-1,
        initial_guess=0.0,
    ),
    Problem(
        name="robertson",
        fun=_robertson,
        jac=_robertson_jac,
        t_span=(0.0, 500.0),
        y0=(1.0, 0.0, 0.0),
        tags=_STIFF | _PAPER,
        reference=(0.42267021115726144, 2.8852074235057497e-06, 0.577326903635315),
        source=f"{_NEWTON_PAPER}, (65); {_COMPUTED}",
        dt=1e-1,
        initial_guess=0.0,
    ),
    Problem(
        name="parode_toy",
        fun=_parode_toy,
        jac=_parode_toy_jac,
        t_span=(0.0, 2.0),
        y0=(0.5,),
        tags=_NONSTIFF | _PAPER,
        reference=(0.9707705642497738,),
        source=f"Veselsky, A parallel regression approach, 2025; {_COMPUTED}",
    ),
    Problem(
        name="van_der_pol_long",
        fun=_vdp,
        jac=_vdp_jac,
        t_span=(0.0, 100.0),
        y0=(0.0, 1.0),
        tags=_NONSTIFF,
        reference=(0.5570803566291869, 2.609727675581465),
        source=f"van_der_pol over a longer span; {_COMPUTED}",
    ),
    Problem(
        name="lotka_volterra",
        fun=_lotka_volterra,
        jac=_lotka_volterra_jac,
        t_span=(0.0, 20.0),
        y0=(1.0, 1.0),
        tags=_NONSTIFF,
        reference=(1.0576864068396261, 0.8286757441749495),
        source=f"textbook predator-prey system; {_COMPUTED}",
    ),
    Problem(
        name="arenstorf",
        fun=_arenstorf,
        t_span=(0.0, 17.065216560157964),
        y0=(0.994, 0.0, 0.0, -2.0015851063790824),
        tags=_NONSTIFF,
        reference=(
            *(0.993999999999974, -8.855134620121083e-14),
            *(-1.4388667357318094e-11, -2.001585106383129),
        ),
        source=f"Hairer, Norsett, Wanner, Solving ODEs I, (II.0.1); {_COMPUTED}",
    ),
    Problem(
        name="pleiades",
        fun=_pleiades,
        t_span=(0.0, 3.0),
        y0=(
            *(3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0),
            *(3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0),
            *(0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5),
            *(0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0),
        ),
        tags=_NONSTIFF,
        reference=(
            *(
                0.3706139143970502,
                3.237284092057233,
                -3.222559032418324,
                0.659709145577531,
            ),
            *(
                0.3425581707156584,
                1.562172101400631,
                -0.7003092922212495,
                -3.943437585517392,
            ),
            *(
                -3.27138097397255,
                5.225081843456543,
                -2.59061243497747,
                1.198213693392275,
            ),
            *(
                -0.2429682344935824,
                1.09144924042898,
                3.417003806314313,
                1.354584501625501,
            ),
            *(
                -2.590065597810775,
                2.025053734714242,
                -1.155815100160448,
                -0.8072988170223021,
            ),
            *(
                0.595239635420871,
                -3.74124496123401,
                0.377345968575063,
                0.9386858869551074,
            ),
            *(
                0.3667922227200571,
                -0.347404635380849,
                2.344915448180937,
                -1.947020434263292,
            ),
        ),
        source=f"{_BARI}, Pleiades",
    ),
    Problem(
        name="lorenz",
        fun=_lorenz,
        jac=_lorenz_jac,
        t_span=(0.0, 20.0),
        y0=(1.0, 1.0, 1.0),
        tags=_NONSTIFF | {"chaotic"},
        reference=(13.79319959513038, 12.951803936192501, 34.901608681136814),
        source=f"Lorenz 1963, sigma=10, rho=28, beta=8/3; {_COMPUTED}",
    ),
    Problem(
        name="brusselator",
        fun=_brusselator,
        jac=_brusselator_jac,
        t_span=(0.0, 20.0),
        y0=(1.5, 3.0),
        tags=_NONSTIFF,
        reference=(0.4986370712683478, 4.596780349452011),
        source="Hairer, Norsett, Wanner, Solving ODEs I, (I.16.12), A=1, B=3",
    ),
    Problem(
        name="hires",
        fun=_hires,
        t_span=(0.0, 321.8122),
        y0=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
        tags=_STIFF,
        reference=(
            *(0.0007371312573325668, 0.0001442485726316185, 5.888729740967575e-05),
            *(0.001175651343283149, 0.002386356198831331, 0.006238968252742796),
            *(0.002849998395185769, 0.002850001604814231),
        ),
        source=f"{_BARI}, HIRES",
    ),
    Problem(
        name="oregonator",
        fun=_oregonator,
        jac=_oregonator_jac,
        t_span=(0.0, 360.0),
        y0=(1.0, 2.0, 3.0),
        tags=_STIFF,
        reference=(1.000814870318523, 1228.178521549917, 132.0554942846706),
        source=f"{_BARI}, OREGO",
    ),
    Problem(
        name="van_der_pol_stiff",
        fun=_vdp_stiff,
        jac=_vdp_stiff_jac,
        t_span=(0.0, 2000.0),
        y0=(2.0, 0.0),
        tags=_STIFF,
        reference=(1.706167732170469, -0.0008928097010248125),
        source=f"{_BARI}, VDPOL, mu=1000 without time scaling",
    ),
)

PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _ALL}
"""The registry: every problem by its name."""
