"""The eigenvalues of a collocation method, in which its stages are decoupled."""

import numpy as np

from ._array_namespace import array_namespace, is_complex, like

__all__ = ["Modes", "find_modes"]


class Modes:
    """The eigenvalues of ``A`` that are needed, and the way there and back.

    For real problems one of each complex pair serves for both.
    """

    def __init__(self, tableau, real):
        values, vectors, inverse, end = tableau.eigen
        keep = values.imag >= 0 if real else np.full(len(values), True)
        values, vectors, to_modes = values[keep], vectors[:, keep], inverse[keep]
        single = (values.imag == 0) & real
        weights = np.where(single | (not real), 1.0, 2.0)
        end_row, from_modes = weights * end[keep], weights * vectors
        self.real = real
        self.values = [v if v.imag else v.real for v in values.tolist()]
        self.ones_column, self.end_row = to_modes.sum(axis=1)[:, None], end_row
        self.groups = [
            _Group(
                tableau.a,
                real_values,
                values[kind],
                to_modes[kind],
                end_row[kind],
                from_modes[:, kind],
            )
            for kind, real_values in ((single, True), (~single, False))
            if kind.any()
        ]
        # the same maps for real and imaginary parts, which save half of the products
        if real:
            to_modes = np.concatenate([to_modes.real, to_modes.imag])
            from_modes = np.hstack([from_modes.real, -from_modes.imag])
        self.to_parts, self.from_parts = to_modes, np.ascontiguousarray(from_modes)

    def joined(self, parts):
        """Values of all modes (N, m, n) from their parts (N, 2 m, n)."""
        if not self.real:
            return parts
        real, imag = np.split(parts, 2, axis=1)
        modes = np.empty(real.shape, dtype=complex)
        modes.real, modes.imag = real, imag
        return modes

    def separated(self, modes):
        """Parts of all modes."""
        return np.concatenate([modes.real, modes.imag], axis=1) if self.real else modes

    def sum(self, arrays):
        """Sum of an array of each group, real for real problems."""
        total = None
        for array in arrays:
            part = self.real_part(array)
            total = part if total is None else total + part
        return total

    def real_part(self, values):
        """Return what counts of sums over the modes."""
        wanted = self.real and is_complex(values)
        return array_namespace(values).real(values) if wanted else values


class _Group:
    """Maps of the real or of the complex eigenvalues, where the tableau is."""

    def __init__(self, example, real, values, to_modes, end_row, from_modes):
        def placed(array):
            return like(example, array.real if real else array + 0j)

        self.values = placed(values[:, None, None, None])
        self.to_modes = placed(to_modes)
        self.ones = placed(to_modes.sum(axis=1)[:, None, None])
        self.end_row = placed(end_row[None, :])
        self.from_modes = placed(from_modes)


def find_modes(tableau, example):
    """Find the modes once for a tableau and for numbers like those of an array.

    They are kept with the tableau, so that memory of a device goes with it.
    """
    known, real = vars(tableau).setdefault("_known_modes", {}), not is_complex(example)
    if real not in known:
        known[real] = Modes(tableau, real)
    return known[real]
