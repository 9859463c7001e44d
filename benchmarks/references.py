"""Compute the reference end points in parivp/_problems.py with 40 digits.

Gragg's modified midpoint rule with Richardson extrapolation (Hairer, Norsett,
Wanner, Solving Ordinary Differential Equations I, section II.9), in mpmath; for
stiff problems Radau IIA collocation of order 15 on a graded mesh. There Newton's
corrections are computed in double precision and only the residuals with all
digits: an iteration gains some eight digits. The right-hand sides are written out
here once more, so that a slip in ``parivp._problems`` shows as a disagreement.
Every problem is solved twice, at two orders and tolerances or on two meshes, and
the digits on which the two agree are printed.

The end point of the large problem is kept as a polynomial in x for each of its two
components, which is printed in place of the values.

Run as ``python -m benchmarks.references [NAME ...]``; needs mpmath
(``pip install mpmath gmpy2``) and some minutes, most of them for pleiades and
brusselator_pde.
"""

import argparse
import sys
import time

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from mpmath import cos, findroot, legendre, lu_solve, matrix, mp, mpf, sin, sqrt
from numpy.polynomial import chebyshev
from scipy.special import roots_jacobi

from parivp._problems import PROBLEMS

DIGITS = 40


def van_der_pol(t, y):
    """Oscillator with mu = 1."""
    x, v = y
    return [v, (1 - x * x) * v - x]


def cart_pole(t, y):
    """Pole of mass 1 and length 0.5 on a cart of mass 10."""
    g, length, mc, mp_ = mpf(9.81), mpf(0.5), 10, 1
    s, c, w = sin(y[1]), cos(y[1]), y[3]
    q = mc + mp_ * s * s
    return [
        y[2],
        w,
        mp_ * s * (length * w * w + g * c) / q,
        -(mp_ * length * w * w * c * s + (mc + mp_) * g * s) / (length * q),
    ]


def robertson(t, y):
    """Autocatalytic reaction."""
    r1, r2, r3 = mpf(0.04) * y[0], 30000000 * y[1] * y[1], 10000 * y[1] * y[2]
    return [r3 - r1, r1 - r2 - r3, r2]


def parode_toy(t, y):
    """Scalar example of the ParODE paper."""
    return [sin(t) - y[0] * y[0] * y[0]]


def lotka_volterra(t, y):
    """Prey and predators."""
    meet = y[0] * y[1]
    return [mpf(1.5) * y[0] - meet, meet - 3 * y[1]]


def arenstorf(t, y):
    """Satellite in the field of Earth and Moon."""
    mu = mpf(0.012277471)
    x, z, vx, vz = y
    r1, r2 = (x + mu) ** 2 + z * z, (x - 1 + mu) ** 2 + z * z
    e, m = (1 - mu) / (r1 * sqrt(r1)), mu / (r2 * sqrt(r2))
    return [
        vx,
        vz,
        x + 2 * vz - e * (x + mu) - m * (x - 1 + mu),
        z - 2 * vx - (e + m) * z,
    ]


def pleiades(t, y):
    """Seven stars of masses 1 to 7 in a plane."""
    ax, az = [mpf(0)] * 7, [mpf(0)] * 7
    for i in range(7):
        for j in range(i):
            dx, dz = y[j] - y[i], y[j + 7] - y[i + 7]
            r2 = dx * dx + dz * dz
            pull = 1 / (r2 * sqrt(r2))
            ax[i] += (j + 1) * dx * pull
            az[i] += (j + 1) * dz * pull
            ax[j] -= (i + 1) * dx * pull
            az[j] -= (i + 1) * dz * pull
    return [*y[14:], *ax, *az]


def lorenz(t, y):
    """Chaotic convection; 8/3 as the double that a solver sees."""
    x, z, w = y
    return [10 * (z - x), x * (28 - w) - z, x * z - mpf(8.0 / 3.0) * w]


def brusselator(t, y):
    """Two-species reaction with A = 1, B = 3."""
    r = y[0] * y[0] * y[1]
    return [1 + r - 4 * y[0], 3 * y[0] - r]


def pollution(t, y):
    """Air pollution model of Verwer, as printed in the Bari test set."""
    (y1, y2, y3, y4, y5, y6, y7, _, y9, y10, y11, _, y13, y14, _, y16, y17, _, y19) = y[
        :19
    ]
    r1, r2, r3 = mpf(0.35) * y1, mpf(26.6) * y2 * y4, 12300 * y5 * y2
    r4, r5, r6 = mpf(8.6e-4) * y7, mpf(8.2e-4) * y7, 15000 * y7 * y6
    r7, r8, r9 = mpf(1.3e-4) * y9, 24000 * y9 * y6, 16500 * y11 * y2
    r10, r11, r12 = 9000 * y11 * y1, mpf(0.022) * y13, 12000 * y10 * y2
    r13, r14, r15 = mpf(1.88) * y14, 16300 * y1 * y6, 4800000 * y3
    r16, r17 = mpf(3.5e-4) * y4, mpf(0.0175) * y4
    r18, r19 = 100000000 * y16, 444000000000 * y16
    r20, r21, r22 = 1240 * y17 * y6, mpf(2.1) * y19, mpf(5.78) * y19
    r23, r24, r25 = mpf(0.0474) * y1 * y4, 1780 * y19 * y1, mpf(3.12) * y[19]
    return [
        -r1 - r10 - r14 - r23 - r24 + r2 + r3 + r9 + r11 + r12 + r22 + r25,
        -r2 - r3 - r9 - r12 + r1 + r21,
        -r15 + r1 + r17 + r19 + r22,
        -r2 - r16 - r17 - r23 + r15,
        -r3 + 2 * r4 + r6 + r7 + r13 + r20,
        -r6 - r8 - r14 - r20 + r3 + 2 * r18,
        -r4 - r5 - r6 + r13,
        r4 + r5 + r6 + r7,
        -r7 - r8,
        -r12 + r7 + r9,
        -r9 - r10 + r8 + r11,
        r9,
        -r11 + r10,
        -r13 + r12,
        r14,
        -r18 - r19 + r16,
        -r20,
        r20,
        -r21 - r22 - r24 + r23 + r25,
        -r25 + r24,
    ]


def brusselator_pde(t, y):
    """Brusselator with diffusion on 250 points, u and v by turns."""
    u, v = [mpf(1), *y[0::2], mpf(1)], [mpf(3), *y[1::2], mpf(3)]
    # the double that a solver sees
    diffusion = mpf(0.02 * (len(u) - 1) ** 2)
    out = []
    for i in range(1, len(u) - 1):
        r = u[i] * u[i] * v[i]
        out.append(diffusion * (u[i - 1] - 2 * u[i] + u[i + 1]) + 1 + r - 4 * u[i])
        out.append(diffusion * (v[i - 1] - 2 * v[i] + v[i + 1]) + 3 * u[i] - r)
    return out


RIGHT_HAND_SIDES = {
    "van_der_pol": van_der_pol,
    "van_der_pol_long": van_der_pol,
    "cart_pole": cart_pole,
    "parode_toy": parode_toy,
    "lotka_volterra": lotka_volterra,
    "arenstorf": arenstorf,
    "pleiades": pleiades,
    "lorenz": lorenz,
    "brusselator": brusselator,
    "robertson": robertson,
    "robertson_long": robertson,
    "pollution": pollution,
    "brusselator_pde": brusselator_pde,
}
# Stiff problems, and the two numbers of steps they are solved with.
STIFF_STEPS = {
    "robertson": (200, 400),
    "robertson_long": (400, 600),
    "pollution": (200, 300),
    "brusselator_pde": (200, 300),
}
STAGES = 8


def modified_midpoint(fun, t, y, f0, big_step, n):
    """Gragg's rule with n (even) substeps; its error expands in even powers of 1/n."""
    h = big_step / n
    previous, current = y, [a + h * b for a, b in zip(y, f0, strict=True)]
    for i in range(1, n):
        f = fun(t + i * h, current)
        previous, current = (
            current,
            [a + 2 * h * b for a, b in zip(previous, f, strict=True)],
        )
    f = fun(t + big_step, current)
    return [(a + b + h * c) / 2 for a, b, c in zip(previous, current, f, strict=True)]


def extrapolated_step(fun, t, y, f0, h, columns):
    """Return the extrapolated value and the difference of its last two columns."""
    row: list = []
    for k in range(columns):
        fresh = [modified_midpoint(fun, t, y, f0, h, 2 * (k + 1))]
        for j in range(k):
            factor = (mpf(k + 1) / (k - j)) ** 2 - 1
            fresh.append(
                [a + (a - b) / factor for a, b in zip(fresh[j], row[j], strict=True)]
            )
        row = fresh
    return row[-1], max(abs(a - b) for a, b in zip(row[-1], row[-2], strict=True))


def integrate(fun, t_span, y0, tol, columns):
    """Integrate with local error below ``tol`` (absolute) per step."""
    t, end = (mpf(value) for value in t_span)
    y = [mpf(value) for value in y0]
    h, order = mpf("1e-4"), 2 * columns - 1
    while t < end:
        h = min(h, end - t)
        trial, error = extrapolated_step(fun, t, y, fun(t, y), h, columns)
        if error <= tol:
            # Land on the end exactly: t + (end - t) may round below it.
            t = end if h == end - t else t + h
            y = trial
        growth = mpf("0.9") * (tol / max(error, tol * mpf("1e-20"))) ** (mpf(1) / order)
        h *= min(max(growth, mpf("0.2")), mpf(4))
    return y


def radau(stages):
    """Return the nodes on [0, 1] and the coefficients of Radau IIA, rows a[i]."""
    # in double precision first; the last node is 1
    guesses = roots_jacobi(stages - 1, 1, 0)[0].tolist()
    roots = [
        findroot(lambda x: legendre(stages, x) - legendre(stages - 1, x), mpf(guess))
        for guess in guesses
    ]
    nodes = [(1 + x) / 2 for x in roots] + [mpf(1)]
    powers = matrix([[c**p for c in nodes] for p in range(stages)])
    integrals = [[c ** (p + 1) / (p + 1) for p in range(stages)] for c in nodes]
    return nodes, [lu_solve(powers, matrix(row)) for row in integrals]


def collocation_step(fun, jac, t, y, h, rule):
    """Take one step, solving for the stage derivatives k by Newton's method.

    `jac` takes and returns double precision: it steers the iteration only.
    """
    nodes, a = rule
    n, stages = len(y), len(nodes)

    def stage(i):
        return [
            y[r] + h * sum(a[i][j] * k[j][r] for j in range(stages)) for r in range(n)
        ]

    k = [fun(t, y)] * stages
    coupling = scipy.sparse.kron(
        np.array([list(row) for row in a], dtype=float),
        scipy.sparse.eye_array(n),
        format="csr",
    )
    for _ in range(60):
        states = [stage(i) for i in range(stages)]
        derivatives = [
            fun(t + c * h, state) for c, state in zip(nodes, states, strict=True)
        ]
        jacobians = [
            jac(float(t + c * h), np.array(state, dtype=float))
            for c, state in zip(nodes, states, strict=True)
        ]
        newton = scipy.sparse.eye_array(n * stages) - float(h) * (
            scipy.sparse.block_diag(jacobians) @ coupling
        )
        residual = [
            k[i][r] - derivatives[i][r] for i in range(stages) for r in range(n)
        ]
        size = max(map(abs, residual))
        if size == 0:
            return states[-1]
        # divided by its size, since mpf reaches further down than float
        scaled = np.array([value / size for value in residual], dtype=float)
        update = scipy.sparse.linalg.spsolve(newton.tocsc(), scaled)
        k = [
            [k[i][r] - size * mpf(update[i * n + r]) for r in range(n)]
            for i in range(stages)
        ]
        if h * size * mpf(np.abs(update).max()) < mpf("1e-34"):
            return stage(stages - 1)  # the last node is the end of the step
    raise RuntimeError(f"Newton's method did not converge at t = {t}")


def graded_mesh(name, end, n_steps):
    """Points in time, growing by a factor each; those of the large problem by t^4."""
    if name == "brusselator_pde":
        return [end * (mpf(k) / n_steps) ** 4 for k in range(n_steps + 1)]
    first = mpf("1e-8" if name == "pollution" else "1e-4")
    return [mpf(0)] + [
        first * (end / first) ** (mpf(k) / (n_steps - 1)) for k in range(n_steps)
    ]


def integrate_stiff(name, n_steps):
    """Integrate by Radau IIA on a graded mesh, from t = 0."""
    problem = PROBLEMS[name]
    mesh = graded_mesh(name, mpf(problem.t_span[1]), n_steps)
    rule, y = radau(STAGES), [mpf(value) for value in problem.y0]
    for t, following in zip(mesh, mesh[1:], strict=False):
        y = collocation_step(
            RIGHT_HAND_SIDES[name], problem.jac, t, y, following - t, rule
        )
    return y


def solve_twice(name):
    """Solve one problem at a lower and at a higher accuracy."""
    problem, fun = PROBLEMS[name], RIGHT_HAND_SIDES[name]
    if name in STIFF_STEPS:
        return [integrate_stiff(name, n_steps) for n_steps in STIFF_STEPS[name]]
    return [
        integrate(fun, problem.t_span, problem.y0, tol, columns)
        for tol, columns in ((mpf("1e-28"), 12), (mpf("1e-31"), 14))
    ]


def report(name):
    """Solve one problem twice and print the end point and the digits agreed on."""
    problem = PROBLEMS[name]
    start = time.perf_counter()
    coarse, fine = solve_twice(name)
    gap = max(
        abs(a - b) / max(abs(b), mpf("1e-300"))
        for a, b in zip(coarse, fine, strict=True)
    )
    seconds = time.perf_counter() - start
    print(f"{name}: two solves agree to {float(gap):.0e}; {seconds:.0f} s")
    print(
        f"    registry differs by {problem.error([float(value) for value in fine]):.0e}"
    )
    values = np.array(fine, dtype=float)
    if "large" in problem.tags:
        for component in (values[0::2], values[1::2]):
            print_values(fit_polynomial(component))
            print()
    else:
        print_values(values)
    sys.stdout.flush()


def print_values(values):
    """Print numbers with all their digits."""
    for value in values:
        print(f"    {float(value)!r},")


def fit_polynomial(values, degree=38):
    """Chebyshev coefficients of a function on the grid inside (0, 1)."""
    n = len(values)
    x = np.arange(1, n + 1) / (n + 1)
    coefficients = chebyshev.chebfit(2 * x - 1, values, degree)
    rest = np.abs(chebyshev.chebval(2 * x - 1, coefficients) - values).max()
    print(f"    polynomial of degree {degree}, within {rest:.0e}:")
    return coefficients


def main(argv=None):
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.references",
        description="Compute the end points in parivp/_problems.py with mpmath.",
    )
    parser.add_argument(
        "names", nargs="*", default=list(RIGHT_HAND_SIDES), metavar="NAME"
    )
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(RIGHT_HAND_SIDES)
    if unknown:
        parser.error(
            f"unknown problems {sorted(unknown)}; known: {list(RIGHT_HAND_SIDES)}"
        )
    mp.dps = DIGITS
    for name in args.names:
        report(name)


if __name__ == "__main__":
    main()
