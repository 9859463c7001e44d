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
import scipy.fft
import scipy.sparse
import scipy.special
from numpy.polynomial.chebyshev import chebval

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
        Any of "nonstiff", "stiff", "chaotic", "large", "paper"; "large" marks
        systems of hundreds of components with a banded Jacobian, "paper" the
        examples of the papers the methods come from.
    reference : tuple of float or callable
        State at ``t_span[1]``, or the exact solution ``exact(t)``, which
        broadcasts over time as `fun` does.
    source : str
        Where the problem and its reference come from.
    jac : callable, sparse array or None
        Jacobian ``jac(t, y)``, of shape (n, n) or (n, n, m); that of a large
        problem is sparse, constant or for a single time.
    jac_sparsity : sparse array or None
        Pattern of the Jacobian of a large problem, shape (n, n).
    dt : float or None
        Step of the papers' fixed-step mode.
    initial_guess : float or None
        The papers' constant initial guess of Newton's method for that mode.
    small : float
        Components below this fraction of the largest one are measured against
        it in `error`.
    rounding : float
        What rounding errors of `fun` alone may add up to in `error`.
    """

    name: str
    fun: Callable[[Any, Any], Any]
    t_span: tuple[float, float]
    y0: tuple[float, ...]
    tags: frozenset[str]
    reference: tuple[float, ...] | Callable[[float], Any]
    source: str
    jac: Any = None
    jac_sparsity: Any = None
    dt: float | None = None
    initial_guess: float | None = None
    small: float = _SMALL_COMPONENT
    rounding: float = 1e-14

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
        ``max(|ref_i|, small * max_j |ref_j|)``, with `small` usually 1e-3;
        where the reference is zero throughout, the error is absolute.
        """
        ref = self.end_point
        scale = np.maximum(np.abs(ref), self.small * np.abs(ref).max())
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


# Reactions of an air pollution model: rate constant, species used up, species made.
_POLLUTION = (
    (0.35, (1,), (2, 3)),
    (26.6, (2, 4), (1,)),
    (1.23e4, (5, 2), (6, 1)),
    (8.6e-4, (7,), (5, 5, 8)),
    (8.2e-4, (7,), (8,)),
    (1.5e4, (7, 6), (8, 5)),
    (1.3e-4, (9,), (10, 8, 5)),
    (2.4e4, (9, 6), (11,)),
    (1.65e4, (11, 2), (10, 12, 1)),
    (9e3, (11, 1), (13,)),
    (0.022, (13,), (11, 1)),
    (1.2e4, (10, 2), (14, 1)),
    (1.88, (14,), (7, 5)),
    (1.63e4, (1, 6), (15,)),
    (4.8e6, (3,), (4,)),
    (3.5e-4, (4,), (16,)),
    (0.0175, (4,), (3,)),
    (1e8, (16,), (6, 6)),
    (4.44e11, (16,), (3,)),
    (1240.0, (17, 6), (18, 5)),
    (2.1, (19,), (2,)),
    (5.78, (19,), (1, 3)),
    (0.0474, (1, 4), (19,)),
    (1780.0, (19, 1), (20,)),
    (3.12, (20,), (1, 19)),
)


def _reaction_network(reactions, n: int) -> tuple[Callable, Callable]:
    """Mass action: the rate of a reaction is that of its one or two reactants."""
    net = np.zeros((n, len(reactions)))
    for j, (_, used, made) in enumerate(reactions):
        for i in used:
            net[i - 1, j] -= 1
        for i in made:
            net[i - 1, j] += 1
    rates = np.array([rate for rate, _, _ in reactions])
    first = np.array([used[0] - 1 for _, used, _ in reactions])
    # A missing second reactant is component n, which is 1.
    second = np.array([used[1] - 1 if used[1:] else n for _, used, _ in reactions])
    index = np.arange(len(reactions))

    def factors(y):
        padded = np.concatenate([y, np.ones_like(y[:1])])
        return padded[first], padded[second]

    def fun(t, y):
        a, b = factors(y)
        return net @ (rates * (a * b).T).T

    def jac(t, y):
        a, b = factors(y)
        slopes = np.zeros((len(reactions), n + 1, *y.shape[1:]), dtype=y.dtype)
        slopes[index, first] = (rates * b.T).T
        slopes[index, second] += (rates * a.T).T
        return np.tensordot(net, slopes[:, :n], 1)

    return fun, jac


def _flame(t, y):
    return y**2 - y**3


def _flame_jac(t, y):
    return _matrix(1, 2 * y[0] - 3 * y[0] ** 2)


def _flame_exact(t, start=1e-4):
    # 1/y - 1 = w solves w + log(w) = const - t: Wright's omega function, which is
    # Lambert's of exp(const - t) and does not overflow.
    w = 1 / start - 1
    return np.stack([1 / (1 + scipy.special.wrightomega(w + np.log(w) - t))])


def _prothero_robinson(t, y, rate=-1e6):
    return rate * (y - np.sin(t)) + np.cos(t)


def _prothero_robinson_jac(t, y, rate=-1e6):
    return _matrix(1, rate + 0.0 * y[0])


# Rates -1e8, -1e7, ..., -1e-2 in the basis of a discrete cosine transform. The
# product is never multiplied out: the rounding of its entries, 1e8 * eps, would
# move the slowest rate by a part in a million.
_RATES = -(10.0 ** np.arange(8, -3, -1))
_BASIS = scipy.fft.dct(np.eye(_RATES.size), type=4, norm="ortho", axis=0)


def _stiff_linear(t, y):
    return _BASIS @ (_RATES * (_BASIS.T @ y).T).T


def _stiff_linear_jac(t, y):
    matrix = (_BASIS * _RATES) @ _BASIS.T
    return matrix.reshape(*matrix.shape, *(1,) * np.ndim(t)) + 0.0 * y[0]


def _decay(rates, coefficients, t):
    """Return ``coefficients * exp(rates * t)``, shape (n,) or (n, m)."""
    return (np.exp(np.multiply.outer(rates, t)).T * coefficients).T


def _stiff_linear_exact(t):
    return _BASIS @ _decay(_RATES, _BASIS.T @ np.ones(_RATES.size), t)


_HEAT_POINTS = 500


def _heat(t, y):
    out = -2.0 * y
    out[1:] += y[:-1]
    out[:-1] += y[1:]
    return (_HEAT_POINTS + 1) ** 2 * out


def _heat_jac():
    weights = np.array([1.0, -2.0, 1.0]) * (_HEAT_POINTS + 1) ** 2
    return scipy.sparse.diags_array(
        weights, offsets=[-1, 0, 1], shape=(_HEAT_POINTS,) * 2, format="csc"
    )


def _heat_start():
    """Hot up to x = 0.3, cold beyond, zero at both ends."""
    return np.where(np.arange(1, _HEAT_POINTS + 1) <= 0.3 * _HEAT_POINTS, 1.0, 0.0)


def _heat_exact(t):
    n = _HEAT_POINTS + 1
    modes = np.arange(1, n)
    rates = -((2 * n * np.sin(modes * np.pi / (2 * n))) ** 2)
    coefficients = scipy.fft.dst(_heat_start(), type=1) / (2 * n)
    return scipy.fft.dst(_decay(rates, coefficients, t), type=1, axis=0)


_PDE_POINTS = 250
_PDE_DIFFUSION = 0.02 * (_PDE_POINTS + 1) ** 2


def _brusselator_pde(t, y):
    # State: u_1, v_1, u_2, v_2, ...; u = 1 and v = 3 at both ends.
    u, v = y[0::2], y[1::2]
    out = -2.0 * y
    out[2:] += y[:-2]
    out[:-2] += y[2:]
    for boundary in (0, -2):
        out[boundary] += 1.0
        out[boundary + 1] += 3.0
    out *= _PDE_DIFFUSION
    reaction = u**2 * v
    out[0::2] += 1.0 + reaction - 4.0 * u
    out[1::2] += 3.0 * u - reaction
    return out


def _brusselator_pde_jac(t, y):
    u, v = y[0::2], y[1::2]
    main, upper, lower = np.empty_like(y), np.zeros_like(y[1:]), np.zeros_like(y[1:])
    main[0::2] = 2 * u * v - 4.0 - 2 * _PDE_DIFFUSION
    main[1::2] = -(u**2) - 2 * _PDE_DIFFUSION
    upper[0::2] = u**2
    lower[0::2] = 3.0 - 2 * u * v
    diffusion = np.full(y.size - 2, _PDE_DIFFUSION)
    return scipy.sparse.diags_array(
        [diffusion, lower, main, upper, diffusion],
        offsets=[-2, -1, 0, 1, 2],
        format="csc",
    )


def _brusselator_pde_start():
    x = np.arange(1, _PDE_POINTS + 1) / (_PDE_POINTS + 1)
    return np.stack([1 + np.sin(2 * np.pi * x), np.full_like(x, 3.0)], axis=1).ravel()


# Chebyshev coefficients in 2 x - 1 of u and v at the end point, within 1e-14.
_PDE_END = (
    (
        0.6914791103574754,
        0.00034814577747466327,
        0.29125334754791227,
        -0.00025769491687177494,
        0.024174931534501575,
        -0.0001172090243938841,
        -0.006324446274822299,
        1.8331580214272862e-05,
        -0.0007432305934744794,
        9.12055497933772e-06,
        0.0001462683785691322,
        -4.165138147518853e-07,
        1.7580908944567424e-05,
        -2.924731861807829e-07,
        -3.2425617310000486e-06,
        6.926508678560451e-09,
        -4.0095181169729224e-07,
        8.456794033192713e-09,
        7.421786948498187e-08,
        -1.3874803946134285e-10,
        9.3206380828321e-09,
        -2.386286933818828e-10,
        -1.710854749866131e-09,
        3.4238839802157753e-12,
        -2.1642613702014284e-10,
        6.502844813818686e-12,
        3.918846695190026e-11,
        -8.342400412433863e-14,
        5.005671624665976e-12,
        -1.721170244390605e-13,
        -8.929072297411636e-13,
        2.0488303907848185e-15,
        -1.15661079077097e-13,
        4.5715832024865135e-15,
        1.990759505226146e-14,
        3.1486180233856637e-17,
        2.4033983479402876e-15,
        -7.430859881922813e-17,
        -6.618291561844386e-16,
    ),
    (
        3.3829351951391953,
        0.0031279841028559797,
        -0.35443585341281975,
        -0.0038245042826345233,
        -0.039469674210059404,
        0.0007636641967545979,
        0.010552465109871822,
        -5.812407160868849e-05,
        0.0006252212935294155,
        -1.0169988526521941e-05,
        -0.00019677771813605564,
        8.777892903512672e-07,
        -1.4582224535751786e-05,
        2.9248286633419055e-07,
        3.725793745532622e-06,
        -1.2083842037652648e-08,
        3.675360296540049e-07,
        -8.601791559372236e-09,
        -8.041880056747403e-08,
        2.262783757775961e-10,
        -8.856228583958571e-09,
        2.417035789561576e-10,
        1.8035610456550835e-09,
        -5.038026366382379e-12,
        2.091509637522056e-10,
        -6.5610266987395465e-12,
        -4.0689281977118694e-11,
        1.1513330587540608e-13,
        -4.886360633986785e-12,
        1.7371631428847746e-13,
        9.1608103443791e-13,
        -2.398072104940403e-15,
        1.1140385483532376e-13,
        -4.427702322946796e-15,
        -2.3830555004895313e-14,
        7.862626215456168e-17,
        -4.402784516442195e-15,
        1.0126341287353771e-16,
        -1.1285633989097125e-15,
    ),
)


def _brusselator_pde_end(t):
    x = np.arange(1, _PDE_POINTS + 1) / (_PDE_POINTS + 1)
    return np.stack([chebval(2 * x - 1, c) for c in _PDE_END], axis=1).ravel()


_vdp, _vdp_jac = _van_der_pol(1.0)
_vdp_stiff, _vdp_stiff_jac = _van_der_pol(1000.0)
_pollution, _pollution_jac = _reaction_network(_POLLUTION, 20)

_NONSTIFF = frozenset({"nonstiff"})
_STIFF = frozenset({"stiff"})
_LARGE = frozenset({"large"})
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
    Problem(
        name="robertson_long",
        fun=_robertson,
        jac=_robertson_jac,
        t_span=(0.0, 1e11),
        y0=(1.0, 0.0, 0.0),
        tags=_STIFF,
        reference=(2.083340149701294e-08, 8.333360770334784e-14, 0.9999999791665152),
        source=f"{_BARI}, ROBER; {_COMPUTED}",
        small=1e-8,
        # those of its largest terms, 0.04 y, which cancel, over the whole time
        rounding=0.04 * 1e11 * float(np.finfo(float).eps),
    ),
    Problem(
        name="pollution",
        fun=_pollution,
        jac=_pollution_jac,
        t_span=(0.0, 60.0),
        y0=(
            *(0.0, 0.2, 0.0, 0.04, 0.0, 0.0, 0.1, 0.3, 0.01, 0.0),
            *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.007, 0.0, 0.0, 0.0),
        ),
        tags=_STIFF,
        reference=(
            *(0.05646255480022769, 0.1342484130422339, 4.139734331099427e-09),
            *(0.005523140207484359, 2.018977262302196e-07, 1.464541863493966e-07),
            *(0.07784249118997964, 0.3245075353396018, 0.007494013383880406),
            *(1.622293157301561e-08, 1.135863833257075e-08, 0.002230505975721359),
            *(0.000208716288279863, 1.396921016840158e-05, 0.008964884856898295),
            *(4.352846369330103e-18, 0.006899219696263405, 0.0001007803037365946),
            *(1.772146513969984e-06, 5.682943292316392e-05),
        ),
        source=f"{_BARI}, POLLU",
    ),
    Problem(
        name="flame",
        fun=_flame,
        jac=_flame_jac,
        t_span=(0.0, 2e4),
        y0=(1e-4,),
        tags=_STIFF,
        reference=_flame_exact,
        source="radius of a flame ball, C. Moler, 2003; exact",
    ),
    Problem(
        name="prothero_robinson",
        fun=_prothero_robinson,
        jac=_prothero_robinson_jac,
        t_span=(0.0, 10.0),
        y0=(0.0,),
        tags=_STIFF,
        reference=lambda t: np.stack([np.sin(t)]),
        source="Hairer, Wanner, Solving ODEs II, (IV.15.1), lambda=-1e6; exact",
    ),
    Problem(
        name="stiff_linear",
        fun=_stiff_linear,
        jac=_stiff_linear_jac,
        t_span=(0.0, 100.0),
        y0=(1.0,) * _RATES.size,
        tags=_STIFF,
        reference=_stiff_linear_exact,
        source="linear, rates from -1e8 to -1e-2; exact",
    ),
    Problem(
        name="heat",
        fun=_heat,
        jac=_heat_jac(),
        jac_sparsity=_heat_jac(),
        t_span=(0.0, 0.1),
        y0=tuple(_heat_start().tolist()),
        tags=_STIFF | _LARGE,
        reference=_heat_exact,
        source=f"heat equation on {_HEAT_POINTS} points; exact",
    ),
    Problem(
        name="brusselator_pde",
        fun=_brusselator_pde,
        jac=_brusselator_pde_jac,
        jac_sparsity=_brusselator_pde_jac(0.0, np.ones(2 * _PDE_POINTS)),
        t_span=(0.0, 10.0),
        y0=tuple(_brusselator_pde_start().tolist()),
        tags=_STIFF | _LARGE,
        reference=_brusselator_pde_end,
        source=f"Hairer, Wanner, Solving ODEs II, section IV.10, BRUSS, on "
        f"{_PDE_POINTS} points; {_COMPUTED}",
    ),
)

PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _ALL}
"""The registry: every problem by its name."""
