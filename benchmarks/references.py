"""Compute the reference end points in parivp/_problems.py with 40 digits.

Gragg's modified midpoint rule with Richardson extrapolation (Hairer, Norsett,
Wanner, Solving Ordinary Differential Equations I, section II.9), in mpmath; for
the stiff Robertson problem Radau IIA collocation on a mesh that is uniform in
log t. The right-hand sides are written out here once more, so that a slip in
``parivp._problems`` shows as a disagreement. Every problem is solved twice, at
two orders and tolerances or on two meshes, and the digits on which the two agree
are printed.

Run as ``python -m benchmarks.references [NAME ...]``; needs mpmath
(``pip install mpmath gmpy2``) and some minutes, most of them for pleiades.
"""

import argparse
import itertools
import sys
import time

from mpmath import cos, eye, lu_solve, matrix, mp, mpf, polyroots, sin, sqrt, taylor

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


def robertson_jac(t, y):
    """Jacobian of `robertson`."""
    a, b, c = 60000000 * y[1], 10000 * y[2], 10000 * y[1]
    return [[-mpf(0.04), b, c], [mpf(0.04), -a - b, -c], [mpf(0), a, mpf(0)]]


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
}


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
    right, left = (
        taylor(lambda x, k=k: mp.legendre(k, x), 0, stages)
        for k in (stages, stages - 1)
    )
    coefficients = [p - q for p, q in zip(right, left, strict=True)]
    roots = polyroots(coefficients[::-1], maxsteps=200, extraprec=200)
    nodes = sorted((1 + mp.re(x)) / 2 for x in roots)
    powers = matrix([[c**p for c in nodes] for p in range(stages)])
    integrals = [[c ** (p + 1) / (p + 1) for p in range(stages)] for c in nodes]
    return nodes, [lu_solve(powers, matrix(row)) for row in integrals]


def collocation_step(fun, jac, t, y, h, rule):
    """Take one step, solving for the stage derivatives k by Newton's method."""
    nodes, a = rule
    n, stages = len(y), len(nodes)

    def stage(i):
        return [
            y[r] + h * sum(a[i][j] * k[j][r] for j in range(stages)) for r in range(n)
        ]

    k = [fun(t, y)] * stages
    for _ in range(30):
        residual, newton = matrix(n * stages, 1), eye(n * stages)
        for i, c in enumerate(nodes):
            f, jacobian = fun(t + c * h, stage(i)), jac(t + c * h, stage(i))
            for r in range(n):
                residual[i * n + r] = k[i][r] - f[r]
                for j, q in itertools.product(range(stages), range(n)):
                    newton[i * n + r, j * n + q] -= h * a[i][j] * jacobian[r][q]
        update = lu_solve(newton, residual)
        k = [[k[i][r] - update[i * n + r] for r in range(n)] for i in range(stages)]
        if h * max(abs(value) for value in update) < mpf("1e-34"):
            return stage(stages - 1)  # the last node is the end of the step
    raise RuntimeError(f"Newton's method did not converge at t = {t}")


def integrate_stiff(fun, jac, t_span, y0, first_step, n_steps, stages):
    """Integrate by Radau IIA on a mesh uniform in log t, from t = 0."""
    end = mpf(t_span[1])
    mesh = [mpf(0)] + [
        first_step * (end / first_step) ** (mpf(k) / (n_steps - 1))
        for k in range(n_steps)
    ]
    rule, y = radau(stages), [mpf(value) for value in y0]
    for t, following in zip(mesh, mesh[1:], strict=False):
        y = collocation_step(fun, jac, t, y, following - t, rule)
    return y


def solve_twice(name):
    """Solve one problem at a lower and at a higher accuracy."""
    problem, fun = PROBLEMS[name], RIGHT_HAND_SIDES[name]
    if name == "robertson":
        return [
            integrate_stiff(
                fun, robertson_jac, problem.t_span, problem.y0, mpf("1e-4"), n_steps, 5
            )
            for n_steps in (200, 400)
        ]
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
    for value in fine:
        print(f"    {float(value)!r},")
    sys.stdout.flush()


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
