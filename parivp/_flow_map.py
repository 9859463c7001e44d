"""The flow of a box of initial values, fitted once and evaluated at any of them."""

import math
import zipfile

import numpy as np

from ._array_namespace import (
    array_namespace,
    as_numpy,
    backend_name,
    copied,
    device_of,
    downloaded,
    errstate,
    first_true,
    has_own_place,
    is_complex,
    like,
    same_place,
)
from ._chebyshev import TotalDegreeBasis
from ._flow_adapt import adapt
from ._flow_evaluation import WindowMaps
from ._flow_trajectories import DoesNotBroadcast, Trajectories
from ._options import (
    as_args,
    as_flag,
    as_tolerances,
    as_whole,
    on_device,
    placed,
    with_args,
)
from ._rhs import Rhs

__all__ = ["FlowMap", "fit_flow_map"]

FORMAT = 1
# What a file holds besides its format and the degree.
ARRAYS = ("edges", "firsts", "origins", "inverses", "coefficients")
OWN_ARRAYS = ("centre", "radius", "error_estimate")
# States count as in the box if they are outside by rounding errors only.
SLACK = 1e-12


def fit_flow_map(
    fun,
    t_span,
    y_box,
    *,
    args=None,
    rtol=1e-6,
    atol=1e-9,
    degree=None,
    max_windows=1000,
    time_vectorized=None,
    device=None,
):
    """Fit the flow of ``dy/dt = fun(t, y)`` for a whole box of initial values.

    One fit answers every initial value of the box at every time of `t_span`. Where
    few polynomials of low degree serve, the result is evaluated for 1e5 of them in
    the time in which an integrator takes some dozens; the time grows with the degree
    and the number of polynomials. Non-stiff problems with a smooth right-hand side
    and few states are what it is made for.

    Parameters
    ----------
    fun : callable
        Right-hand side ``fun(t, y)`` with scalar ``t`` and ``y`` of shape (n,),
        returning an array_like of shape (n,). If it broadcasts, ``t`` of shape (m,)
        and ``y`` of shape (n, m), it is evaluated at many points at once. It is
        evaluated somewhat outside of the trajectories, too.
    t_span : 2-member sequence of float
        The initial time and the other end of the interval, which may come before.
    y_box : tuple of (centre, radius)
        Initial values ``centre - radius <= y0 <= centre + radius``; centre has
        shape (n,), radius is a number or has shape (n,), and is not negative. If
        the centre is an array of CuPy, or of another library that follows the array
        API standard, the map is fitted by that library, where the centre is; `fun`
        gets such arrays.
    args : tuple, optional
        Handed to `fun` after ``t`` and ``y``.
    rtol, atol : float or array_like, shape (n,), optional
        At every time of `t_span` and from every initial value of the box the error
        is to be below ``atol + rtol * abs(y)``. Defaults are 1e-6 and 1e-9,
        tighter than those of `solve_ivp`.
    degree : int, optional
        Largest total degree of the polynomials in the state; the degree used is the
        smallest that serves. By default up to 60 for one state, 24 for two, 9 for
        four and 5 for six, with at most 1000 coefficients per component.
    max_windows : int, optional
        Windows of time into which the interval may be split.
    time_vectorized : bool or None, optional
        Whether `fun` broadcasts over time; None finds out.
    device : {"cpu", "cuda"}, optional
        Where the map is fitted: "cuda" brings a box of NumPy's to the GPU. By
        default where the centre is.

    Returns
    -------
    FlowMap
        Callable, ``flow(t, y0)``.

    Raises
    ------
    ValueError
        If an argument is out of its range or has the wrong shape, or the box is
        complex.
    TypeError
        If an argument is not of the kind expected, or arrays are of several
        libraries or devices.
    ImportError
        If `device` is "cuda" and CuPy is not installed.
    RuntimeError
        If the tolerance cannot be met: the problem is stiff, trajectories of the
        box separate too far, `fun` is not smooth, or memory does not suffice.

    See Also
    --------
    solve_ivp : Solve for one initial value.

    Notes
    -----
    The interval is split into windows. In each the state is a Chebyshev series in
    time whose coefficients are polynomials in the initial state or, where that
    would take too high a degree, in the state at an earlier time. They are fitted
    by least squares to solutions of the equation from points of the box, those of
    all points computed at once. A sample of trajectories that takes no part in the
    fit, integrated by DOP853 to 13 digits, says whether the tolerance is met at all
    times; windows and degrees are chosen by it. See :doc:`flow_map`.

    References
    ----------
    .. [1] M. Veselský, "A Parallel Regression Approach to ODE Integration: for
           Application to Relativistic Stellar Oscillations and Beyond", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from parivp import fit_flow_map
    >>> def van_der_pol(t, y):
    ...     return [y[1], (1 - y[0]**2) * y[1] - y[0]]
    >>> flow = fit_flow_map(van_der_pol, (0, 2), ([0, 1], 0.1))
    >>> y0 = np.random.default_rng(0).uniform([[-0.1], [0.9]], [[0.1], [1.1]],
    ...                                       size=(2, 1000))
    >>> flow(2.0, y0).shape
    (2, 1000)
    >>> flow.jacobian(2.0, [0, 1]).shape
    (2, 2)
    """
    t0, tf = _interval(t_span)
    centre, radius = _box(y_box, device)
    n = centre.shape[0]
    if not callable(fun):
        raise TypeError(f"`fun` is expected to be callable, but actually is {fun!r}.")
    rtol, atol = as_tolerances(rtol, atol, n)
    degree = as_whole("degree", degree)
    max_windows = as_whole("max_windows", max_windows)
    time_vectorized = as_flag("time_vectorized", time_vectorized)
    fun = with_args(fun, as_args(args))
    rhs = Rhs(fun, centre, time_vectorized=time_vectorized)
    rhs.strict(like(centre, [t0]), centre[:, None])  # shows what is wrong with `fun`
    problem = ((t0, tf), centre, radius, rtol, atol)
    with errstate():
        try:
            fitted = _fit(rhs, problem, degree, max_windows)
        except DoesNotBroadcast:  # as it had seemed to; `rhs` calls it singly now
            fitted = _fit(rhs, problem, degree, max_windows)
    return FlowMap(fitted.maps, centre, radius, fitted.errors)


def _fit(rhs, problem, degree, max_windows):
    trajectories = Trajectories(rhs, *problem)
    return adapt(rhs, trajectories, problem[2], degree, max_windows)


class FlowMap:
    """The flow of a box of initial values, as `fit_flow_map` returns it.

    Calling it gives the states at times of `t_span` from initial values of the box.
    It no longer needs the right-hand side.

    Parameters
    ----------
    maps : WindowMaps
        Polynomials of the windows of time; `fit_flow_map` and `load` make them.
    centre, radius : array, shape (n,)
        The box of initial values.
    error_estimate : array, shape (n,)
        Largest error of each component, absolute, at any time: found by comparison
        with a sample of trajectories that the fit has not used.

    Attributes
    ----------
    centre, radius, error_estimate : array, shape (n,)
        As above.
    t_span : tuple of float
        The initial time and the other end.
    n_windows : int
        Number of windows of time, each with a polynomial of its own.
    n_legs : int
        Number of polynomials that are evaluated one after another to reach the end.
    degree : int
        Total degree of the polynomials in the state.
    n : int
        Number of states.

    See Also
    --------
    fit_flow_map : Fit one.
    """

    def __init__(self, maps, centre, radius, error_estimate):
        self._maps = maps
        self._elsewhere = None
        self.centre = centre
        self.radius = radius
        self.error_estimate = error_estimate
        self.t_span = (float(maps.edges[0]), float(maps.edges[-1]))
        self.n = centre.shape[0]
        self.n_windows = len(maps.edges) - 1
        self.n_legs = len(maps.firsts)
        self.degree = maps.basis.degree

    def __repr__(self):
        """Say what the map is of, and how good."""
        return (
            f"FlowMap(n={self.n}, t_span={self.t_span}, n_windows={self.n_windows}, "
            f"n_legs={self.n_legs}, degree={self.degree}, "
            f"error_estimate={self._largest_error:.1e})"
        )

    @property
    def _largest_error(self):
        return float(array_namespace(self.error_estimate).max(self.error_estimate))

    def __call__(self, t, y0):
        """Return states.

        Parameters
        ----------
        t : float or array_like, shape (m,)
            Times within `t_span`, in any order.
        y0 : array_like, shape (n,) or (n, B)
            Initial values in the box. The result belongs to their array library; if
            the map was fitted on a device, they are expected to be there.

        Returns
        -------
        array, shape (n,), (n, m), (n, B) or (n, B, m)
            The axis of initial values is missing for one, that of times for a
            number.

        Raises
        ------
        ValueError
            If an initial value is outside the box, a time outside the interval, or
            the shape is wrong.
        TypeError
            If an argument does not hold numbers, or is where the map is not.
        """
        xp, t, y0, drop = self._arguments(t, y0)
        return drop(self._maps_at(y0).states(xp, t, y0))

    def jacobian(self, t, y0):
        """Return derivatives of the states by the initial values.

        Parameters
        ----------
        t : float or array_like, shape (m,)
            Times within `t_span`, in any order.
        y0 : array_like, shape (n,) or (n, B)
            Initial values in the box.

        Returns
        -------
        array, shape (n, n), (n, n, m), (n, n, B) or (n, n, B, m)
            ``[i, j]`` is the derivative of component i by the initial value of
            component j.

        Raises
        ------
        ValueError
            As a call.

        Notes
        -----
        Derivatives of the polynomials. Their errors are larger than those of the
        states, by about ``degree**2 / radius`` at most.
        """
        xp, t, y0, drop = self._arguments(t, y0)
        return drop(self._maps_at(y0).jacobians(xp, t, y0))

    def in_box(self, y0):
        """Whether initial values are in the box.

        Parameters
        ----------
        y0 : array_like, shape (n,) or (n, B)
            Initial values.

        Returns
        -------
        array of bool, shape () or (B,)
            True up to rounding errors outside.
        """
        return self._in_box(self._states(y0))

    def _in_box(self, y0):
        if y0.ndim not in (1, 2) or y0.shape[0] != self.n:
            raise ValueError(
                f"`y0` is expected to have shape ({self.n},) or ({self.n}, B), but "
                f"actually has {tuple(y0.shape)}."
            )
        xp = array_namespace(y0)
        shape = (self.n,) + (1,) * (y0.ndim - 1)
        centre, radius = (
            xp.reshape(like(y0, x), shape) for x in (self.centre, self.radius)
        )
        reach = radius + SLACK * (xp.abs(centre) + radius)
        return xp.all(xp.abs(y0 - centre) <= reach, axis=0)

    def _arguments(self, t, y0):
        """Check the arguments of a call; say what its result is without."""
        y0 = self._states(y0)
        inside, xp = self._in_box(y0), array_namespace(y0)
        if not bool(xp.all(inside)):
            self._refuse(xp, y0, inside)
        t = self._times(t, y0)

        def drop(found):
            found = found[..., 0] if t.ndim == 0 else found
            if y0.ndim == 2:
                return found
            return found[..., 0] if t.ndim == 0 else found[..., 0, :]

        columns = y0 if y0.ndim == 2 else y0[:, None]
        return xp, array_namespace(t).reshape(t, (-1,)), columns, drop

    def _states(self, y0):
        """Return initial values as an array of floats, of the library they come from.

        They are not copied to where the map is, but numbers in lists are put there.
        """
        if has_own_place(self.centre):
            if not isinstance(y0, np.ndarray | np.generic):
                y0 = placed("y0", y0, self.centre, "y_box")
            elif y0.dtype.kind in "biufc":
                xp = array_namespace(self.centre)
                raise TypeError(
                    f"`y0` is expected to be an array of {backend_name(xp)} on the "
                    f"device {device_of(self.centre)}, as the flow map is, but "
                    "actually is one of numpy."
                )
        try:
            xp = array_namespace(y0)
        except TypeError:
            y0 = np.asarray(y0)
            xp = array_namespace(y0)
        if is_complex(y0):
            raise ValueError("`y0` is complex, but the flow map is of real states.")
        if not xp.isdtype(y0.dtype, ("bool", "integral", "real floating")):
            raise TypeError(
                f"`y0` is expected to hold numbers, but actually has dtype {y0.dtype}."
            )
        return xp.astype(y0, xp.float64)

    def _times(self, t, y0):
        """Return times as an array of floats: on the host, or left where `y0` is."""
        if has_own_place(t):
            t = placed("t", t, y0)
            xp = array_namespace(t)
            t = xp.astype(t, xp.float64)
        else:
            t, xp = as_numpy(t).astype(float), np
        if t.ndim > 1:
            raise ValueError(
                f"`t` is expected to be a number or to have shape (m,), but actually "
                f"has shape {t.shape}."
            )
        low, high = sorted(self.t_span)
        outside = ~((t >= low) & (t <= high))
        if bool(xp.any(outside)):
            k = first_true(xp, xp.reshape(outside, (-1,)))
            raise ValueError(
                f"`t` is expected to be between {low} and {high}, but actually has "
                f"{float(xp.reshape(t, (-1,))[k])}."
            )
        return t

    def _maps_at(self, y0):
        """Return the maps, placed where `y0` is; the last ones elsewhere are kept."""
        if same_place(self._maps.coefficients, y0):
            return self._maps
        last = self._elsewhere
        if last is None or not same_place(last.coefficients, y0):
            last = self._elsewhere = self._maps.placed_like(y0)
        return last

    def _refuse(self, xp, y0, inside):
        columns = xp.reshape(y0, (self.n, -1))
        k = first_true(xp, ~xp.reshape(inside, (-1,)))
        which = "" if y0.ndim == 1 else f" in column {k}"
        raise ValueError(
            f"`y0` is expected to be in the box with centre {self.centre} and radius "
            f"{self.radius}, but actually has {columns[:, k]}{which}."
        )

    def save(self, path):
        """Write the map to a file that `load` reads.

        Parameters
        ----------
        path : str or path
            Name of the file, as it is; NumPy's .npz format.
        """
        with open(path, "wb") as file:
            np.savez(
                file,
                parivp_flow_map=np.array(FORMAT),
                degree=np.array(self.degree),
                **{name: downloaded(getattr(self._maps, name)) for name in ARRAYS},
                **{name: downloaded(getattr(self, name)) for name in OWN_ARRAYS},
            )

    @classmethod
    def load(cls, path, *, device=None):
        """Read a map that `save` has written.

        Nothing is unpickled, so files from others can do no harm.

        Parameters
        ----------
        path : str or path
            Name of the file.
        device : {"cpu", "cuda"}, optional
            Where the map is to be, whichever it was on. Default is "cpu".

        Returns
        -------
        FlowMap

        Raises
        ------
        ValueError
            If the file holds something else, or was written in another format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = dict(file)
        except (zipfile.BadZipFile, EOFError, ValueError, TypeError) as error:
            raise ValueError(f"`path` holds no flow map: {path}.") from error
        version = stored.get("parivp_flow_map")
        if version is not None and version != FORMAT:
            raise ValueError(
                f"`path` holds a flow map of format {version}, but this version reads "
                f"format {FORMAT}."
            )
        if not stored.keys() >= {"parivp_flow_map", *ARRAYS, *OWN_ARRAYS, "degree"}:
            raise ValueError(f"`path` holds no flow map: {path}.")
        basis = TotalDegreeBasis(len(stored["centre"]), int(stored["degree"]))
        maps = WindowMaps(*(stored[name] for name in ARRAYS), basis)
        centre = on_device("centre", stored["centre"], device)
        if has_own_place(centre):
            maps = maps.placed_like(centre)
        return cls(maps, *(like(centre, stored[name]) for name in OWN_ARRAYS))


def _interval(t_span):
    t0, tf = map(float, t_span)
    if not (math.isfinite(t0) and math.isfinite(tf) and t0 != tf):
        raise ValueError(
            "`t_span` is expected to hold two different finite times, but actually "
            f"is {(t0, tf)}."
        )
    return t0, tf


def _box(y_box, device):
    """Return centre and radius, both of shape (n,), where the map is to be fitted."""
    try:
        centre, radius = y_box
    except (TypeError, ValueError):
        raise ValueError(
            f"`y_box` is expected to be (centre, radius), but actually is {y_box!r}."
        ) from None
    centre = _as_floats(on_device("y_box", centre, device))
    radius = _as_floats(radius)
    if has_own_place(radius):
        radius = placed("radius", radius, centre, "centre")
    if centre.ndim != 1 or centre.size == 0 or radius.shape not in ((), centre.shape):
        raise ValueError(
            "`y_box` is expected to have a centre of shape (n,) and a radius that is a "
            f"number or has the same shape, but actually has shapes {centre.shape} "
            f"and {radius.shape}."
        )
    xp = array_namespace(centre)
    radius = copied(xp.broadcast_to(like(centre, radius), centre.shape))
    if not bool(xp.all(xp.isfinite(centre)) & xp.all(xp.isfinite(radius))):
        raise ValueError("All components of `y_box` must be finite.")
    if bool(xp.any(radius < 0)):
        raise ValueError(
            f"`y_box` is expected to have a radius of 0 or more, but actually has "
            f"{radius}."
        )
    return centre, radius


def _as_floats(values):
    """Copy part of the box to an array of floats, of NumPy's or where it is."""
    own_place = has_own_place(values)
    if is_complex(values) if own_place else np.iscomplexobj(values):
        raise ValueError(
            "`y_box` is complex, but a flow map is of real states: write real and "
            "imaginary parts as states of their own."
        )
    if not own_place:
        return np.array(values, dtype=float)
    xp = array_namespace(values)
    return xp.astype(values, xp.float64)
