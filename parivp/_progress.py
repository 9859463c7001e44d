"""What a long integration tells while it runs: callback and progress bar."""

from scipy.optimize import OptimizeResult

from ._array_namespace import copied

__all__ = ["Monitor"]


class Monitor:
    """Calls the user's `callback` and moves the progress bar.

    Parameters
    ----------
    t0, tf : float
        Interval of integration.
    callback : callable or None
        Called with the state after each accepted window.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    ImportError
        If a bar is asked for and tqdm is not installed.
    """

    class Stopped(Exception):
        """The callback asked to stop."""

    def __init__(self, t0, tf, callback, progress):
        self.t0 = t0
        self.total = abs(tf - t0)
        if callback is not None and not callable(callback):
            raise TypeError(
                f"`callback` is expected to be callable, but actually is {callback!r}."
            )
        self.callback = callback
        self.tqdm = _import_tqdm() if progress else None
        self.bar = None

    def __enter__(self):
        if self.tqdm is not None:
            total = self.total if self.total < float("inf") else None
            self.bar = self.tqdm(total=total, unit="t", desc="solve_ivp")
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()

    def update(self, solver, segment):
        """Report an accepted segment."""
        if self.bar is not None:
            self.bar.update(abs(float(segment.t[-1]) - self.t0) - self.bar.n)
        if self.callback is None:
            return
        state = OptimizeResult(
            t=float(segment.t[-1]),
            y=copied(segment.y[:, -1]),
            nsteps=solver.loop.nsteps,
            nit=solver.loop.nit,
            window=segment.t.shape[0] - 1,
        )
        try:
            self.callback(state)
        except StopIteration:
            raise self.Stopped from None


def _import_tqdm():
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "`progress=True` needs tqdm: python -m pip install 'parivp[progress]'"
        ) from error
    return tqdm
