"""Many initial values of van der Pol's equation: a flow map beside integrators.

Run as ``taskset -c 0 python -m benchmarks.flow_map``.

Every method is to give the state at t = 2 from each of `--columns` initial values of
a box of radius 0.1, with an absolute error of at most 1e-8; the errors printed are
the largest of a random sample of 200 of them, found with DOP853 at a tolerance of
1e-12. The loop over DOP853 at rtol 1e-8 is timed on 100 initial values. The classical
Runge-Kutta method (RK4) advances all initial values at once in blocks that fit the
cache, in place, with the smallest number of steps whose error is not above that of
the flow map, and with the smallest that reaches 1e-8. Times are medians of several
runs that take turns.

With ``--transport`` the fit is also compared with one of the backward map: a
polynomial Psi(y, t) of the same degree that satisfies dPsi/dt + f . grad Psi = 0 and
is the identity at the end of each window, which is one least-squares problem with
all coefficients, in space and time, as unknowns.
"""

import argparse
import statistics
import time

import numpy as np
import scipy.integrate

import parivp
from parivp._chebyshev import (
    TotalDegreeBasis,
    box_points,
    chebyshev_derivative_rows,
    chebyshev_rows,
)

T_SPAN, CENTRE, RADIUS = (0.0, 2.0), np.array([0.0, 1.0]), 0.1
TOLERANCE, N_LOOP, N_CHECKED, N_REPEATS = 1e-8, 100, 200, 5
BLOCK = 4096


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def dop853(y0, rtol, atol):
    result = scipy.integrate.solve_ivp(
        van_der_pol, T_SPAN, y0, "DOP853", rtol=rtol, atol=atol
    )
    return result.y[:, -1]


def slope(y, out, work):
    """Van der Pol's equation without temporary arrays."""
    np.multiply(y[0], y[0], out=work)
    np.subtract(1.0, work, out=work)
    np.multiply(work, y[1], out=work)
    np.subtract(work, y[0], out=out[1])
    out[0] = y[1]


def rk4_block(y, n_steps):
    """Advance the states `y` in place."""
    h = (T_SPAN[1] - T_SPAN[0]) / n_steps
    k, total, stage = np.empty_like(y), np.empty_like(y), np.empty_like(y)
    work = np.empty_like(y[0])
    for _ in range(n_steps):
        slope(y, total, work)
        np.multiply(total, h / 2, out=stage)
        stage += y
        for step in (h / 2, h):
            slope(stage, k, work)
            np.multiply(k, step, out=stage)
            stage += y
            k *= 2
            total += k
        slope(stage, k, work)
        total += k
        total *= h / 6
        y += total


def rk4(y0, n_steps):
    """Classical Runge-Kutta method from all initial values."""
    result = np.empty_like(y0)
    for i in range(0, y0.shape[1], BLOCK):
        block = np.ascontiguousarray(y0[:, i : i + BLOCK])
        rk4_block(block, n_steps)
        result[:, i : i + BLOCK] = block
    return result


def fewest_steps(y0, truth, error):
    """Smallest number of RK4 steps whose error is at most `error`."""
    too_few, enough = 1, 2
    while np.max(np.abs(rk4(y0, enough) - truth)) > error:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if np.max(np.abs(rk4(y0, middle) - truth)) > error:
            too_few = middle
        else:
            enough = middle
    return enough


def fit():
    return parivp.fit_flow_map(
        van_der_pol, T_SPAN, (CENTRE, RADIUS), rtol=0.5 * TOLERANCE, atol=TOLERANCE
    )


def timed(task):
    start = time.perf_counter()
    result = task()
    return time.perf_counter() - start, result


def transported(n_windows, degree, n_time):
    """Fit backward maps, one least-squares problem per window; return the maps.

    The gauge is built in: Psi is the identity plus terms that vanish at the end. The
    box of a window is the one that holds 200 trajectories there, and a fifth more.
    """
    rng = np.random.default_rng(0)
    corners = rng.uniform(-1, 1, size=(2, 200))
    corners /= np.max(np.abs(corners), axis=0)
    corners[:, 0] = 0

    def stacked(t, y):
        return np.concatenate(van_der_pol(t, y.reshape(2, -1)))

    sampled = scipy.integrate.solve_ivp(
        stacked,
        T_SPAN,
        (CENTRE[:, None] + RADIUS * corners).ravel(),
        "DOP853",
        rtol=1e-10,
        atol=1e-11,
        dense_output=True,
    ).sol
    basis = TotalDegreeBasis(2, degree)
    x = box_points(basis)
    edges = np.linspace(*T_SPAN, n_windows + 1)
    half = (edges[1] - edges[0]) / 2
    s = np.cos(np.pi * (np.arange(n_time + 2) + 0.5) / (n_time + 2))
    t = edges[:-1, None] + (s + 1) * half
    around = sampled(t.ravel()).reshape(2, 200, *t.shape)
    centre = around[:, 0]
    ends = sampled(edges).reshape(2, 200, -1)[:, 0]
    rho = 1.2 * np.abs(around - centre[:, None]).max(axis=(1, 3))
    y = centre[..., None] + rho[:, :, None, None] * x[:, None, None, :]
    moves = np.array(van_der_pol(t, y)) - np.array(van_der_pol(t, centre))[..., None]
    moves *= half / rho[:, :, None, None]
    values, gradients = basis.values(np, x), basis.gradients(np, x)
    series = np.stack(chebyshev_rows(np, s, n_time - 1))[1:] - 1
    slopes = np.stack(chebyshev_derivative_rows(np, s, n_time - 1))[1:]
    along = np.einsum("dmk,dwtk->wtkm", gradients, moves)
    matrix = values.T[None, None, :, :, None] * slopes.T[None, :, None, None, :]
    matrix = matrix + along[..., None] * series.T[None, :, None, None, :]
    matrix = matrix.reshape(n_windows, -1, basis.size * (n_time - 1))
    right = -np.moveaxis(moves, 0, -1).reshape(n_windows, -1, 2)
    q, r = np.linalg.qr(matrix)
    found = np.linalg.solve(r, q.swapaxes(1, 2) @ right)
    found = found.reshape(n_windows, basis.size, n_time - 1, 2)
    at_start = (-1.0) ** np.arange(1, n_time) - 1
    maps = np.einsum("wbkd,k->wdb", found, at_start)
    for j in range(2):
        unit = np.eye(2, dtype=int)[j]
        maps[:, j, np.flatnonzero((basis.exponents == unit).all(axis=1))[0]] += 1

    def apply(y0):
        for w in range(n_windows):
            xi = (y0 - ends[:, w : w + 1]) / rho[:, w : w + 1]
            y0 = ends[:, w + 1 : w + 2] + rho[:, w : w + 1] * (
                maps[w] @ basis.values(np, xi)
            )
        return y0

    return apply


def print_transport(y0, truth, flow):
    print("\nfit of the backward map, and its error, beside that of the flow map")
    for n_windows, degree, n_time in ((4, 4, 10), (4, 6, 10), (8, 6, 10), (4, 8, 12)):
        task = lambda size=(n_windows, degree, n_time): transported(*size)  # noqa: E731
        seconds = statistics.median(timed(task)[0] for _ in range(3))
        error = np.max(np.abs(task()(y0) - truth))
        print(
            f"  {n_windows} windows, degree {degree}, {n_time} in time: "
            f"{1e3 * seconds:6.0f} ms {error:8.1e}"
        )
    seconds = statistics.median(timed(fit)[0] for _ in range(3))
    error = np.max(np.abs(flow(T_SPAN[1], y0) - truth))
    print(f"  {flow!r}: {1e3 * seconds:.0f} ms {error:.1e}")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flow_map", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--columns", type=int, default=10**5, help="number of initial values"
    )
    parser.add_argument(
        "--transport",
        action="store_true",
        help="also fit the partial differential equation of the map to the end",
    )
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    y0 = CENTRE[:, None] + RADIUS * rng.uniform(-1, 1, size=(2, arguments.columns))
    checked = rng.choice(arguments.columns, N_CHECKED, replace=False)
    truth = np.stack([dop853(y0[:, k], 1e-12, 1e-13) for k in checked], axis=1)
    flow = fit()
    reached = np.max(np.abs(flow(T_SPAN[1], y0[:, checked]) - truth))
    same = fewest_steps(y0[:, checked], truth, reached)
    loose = fewest_steps(y0[:, checked], truth, TOLERANCE)
    looped = y0[:, :N_LOOP].T
    tasks = {
        "fit": fit,
        "evaluate": lambda: flow(T_SPAN[1], y0),
        "loop": lambda: [dop853(y, 1e-8, 1e-11) for y in looped],
        "rk4": lambda: rk4(y0, same),
        "rk4 loose": lambda: rk4(y0, loose),
    }
    seconds = {name: [] for name in tasks}
    for _ in range(N_REPEATS):
        for name, task in tasks.items():
            seconds[name].append(timed(task)[0])
    ms = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    ours = ms["fit"] + ms["evaluate"]
    loop = ms["loop"] * arguments.columns / N_LOOP
    by_loop = np.stack([dop853(y0[:, k], 1e-8, 1e-11) for k in checked], axis=1)
    print(f"van der Pol, {arguments.columns} initial values to t = 2, times in ms")
    print(f"  {flow!r}")
    print(f"  flow map: fit {ms['fit']:.0f}, evaluation {ms['evaluate']:.0f}")
    rows = [
        ("flow map", ours, reached),
        ("loop over DOP853, rtol 1e-8", loop, np.max(np.abs(by_loop - truth))),
        (f"RK4, {same} steps", ms["rk4"], _error(y0, checked, truth, same)),
        (f"RK4, {loose} steps", ms["rk4 loose"], _error(y0, checked, truth, loose)),
    ]
    for name, time_taken, error in rows:
        print(
            f"  {name:28s} {time_taken:10.0f}   error {error:.1e}   "
            f"{time_taken / ours:8.1f} times the flow map's"
        )
    if arguments.transport:
        print_transport(y0[:, checked], truth, flow)


def _error(y0, checked, truth, n_steps):
    return np.max(np.abs(rk4(y0[:, checked], n_steps) - truth))


if __name__ == "__main__":
    main()
