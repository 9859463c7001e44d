"""ParODE's flow maps, fitted to all windows of time at once about a trajectory.

On a step from ``t_k`` to ``t_{k+1}`` of the mesh, with ``theta`` running from 0 to 1
and a centre ``c``, the map ``Psi(x, theta)`` says where the state ``c + x`` arrives at
the end. It is constant along every solution: ``dPsi/dtheta + (h f - c') dPsi/dx = 0``,
and the end itself fixes its gauge, ``Psi(x, 1) = x`` (there the centre is the origin).
A polynomial of degree one in the state, ``Psi = a(theta) + A(theta) x``, solves it
about the centre if ``A' = -h A J`` and ``a' = -A d``, with the Jacobian ``J`` of ``f``
and the defect ``d = h f(c) - c'``. The trajectory is where ``Psi`` keeps the value
it has at the step's left end; that is the centre of the next fit.
"""

import numpy as np

from ._array_namespace import add_to_diagonal, array_namespace, like
from ._collocation import Collocation
from ._scan import affine_scan
from ._stage_systems import (
    CondensedStages,
    StageJacobians,
    apply,
    before,
    invert,
    solve,
)

__all__ = ["FittedMaps"]

# Up to this many unknowns in a step maps are fitted, at the cost of the cube of their
# number.
LARGEST_FITTED = 60
# A map contracts by about the exponential of this number at most, `h` times the norm
# of the slopes: the more it does, the less it tells where the state came from, and
# the more passes are taken.
MOST_CONTRACTION = 5.0


class FittedMaps(Collocation):
    """Flow maps of degree one in the state, re-centred until nothing moves.

    The maps are polynomials of the tableau's degree in time, fitted at its nodes.
    With as many points as coefficients the least squares are solved exactly. Where
    the centre stays where it was its defect vanishes at the nodes, so that what
    comes out is the collocation solution, whatever the error of the maps; only the
    way there is theirs.

    Parameters
    ----------
    tableau : CollocationTableau
        With a node at the end of the step.
    rhs, jac, rtol, atol
        As for `Discretization`.
    """

    advice = (
        "If the problem is stiff, use 'ScanNewtonImplicit'; if it is chaotic, tighten "
        "the tolerances or shorten `t_span`."
    )

    def step_storage(self, y):
        """Numbers that one step of a window takes."""
        n, s = y.size, self.tableau.n_stages
        if n * s > LARGEST_FITTED:
            return super().step_storage(y)
        return (s * n) ** 2 + 5 * s * n * (n + 1)

    def linearize(self, mesh, left, Y, known=None):
        """Residual, ``f`` at the nodes, and the maps fitted about the iterate.

        Where the problem is stiff in one of the steps the linear equations of the
        nodes are solved without maps, and so they are in large systems. A single
        step needs none.
        """
        n, s, n_steps = Y.shape
        if n_steps == 1 or n * s > LARGEST_FITTED:
            return super().linearize(mesh, left, Y, known)
        residual, F = known or self.residual(mesh, left, Y)
        xp, (times, h) = self.xp, self._grid(mesh)
        self.nlu += n_steps
        J = self.stage_jacobians(times, Y, F)
        norms = xp.max(xp.sum(xp.abs(J), axis=1), axis=(0, 1))
        contraction = float(xp.max(xp.abs(h) * norms))
        system = MapSystem if contraction < MOST_CONTRACTION else CondensedStages
        return residual, F, system(self.tableau, h, J)


class MapSystem(StageJacobians):
    """The maps of all steps, and the trajectory on which they stay constant.

    The centre is not the iterate ``c`` itself but its Picard iterate ``c + r`` with
    the residual ``r``. Its defect ``h J r`` is as smooth as the solution, while that
    of ``c`` has the derivatives of a rough guess in it, which polynomials of the
    map's degree do not follow.

    Parameters
    ----------
    tableau : CollocationTableau
    h : array, shape (N,)
    jacobians : array, shape (n, n, s, N)
    maps : tuple of array, optional
        What `_fit` gives, if it is there.
    """

    def __init__(self, tableau, h, jacobians, maps=None):
        self.tableau = tableau
        self.h = h
        self.jacobians = jacobians
        self.maps = maps

    def first(self, n):
        """Keep the first `n` steps."""
        maps = None if self.maps is None else tuple(part[:n, ...] for part in self.maps)
        return MapSystem(self.tableau, self.h[:n], self.jacobians[..., :n], maps)

    def solve(self, residual):
        """Solve for the update, shape (n, s, N).

        With ``u`` the update of the left end, that of node ``i`` is ``r_i + x_i`` where
        ``a(c_i) + A(c_i) x_i = a(0) + A(0) u``. At the right end that is an affine
        recursion from step to step.
        """
        xp = array_namespace(residual)
        if self.maps is None:
            self.maps = self._fit(xp)
        slopes, inverses, whole = self.maps
        r = xp.permute_dims(residual, (2, 1, 0))
        moved = self.tableau.a @ apply(slopes, r)  # a(0) - a(c_i)
        u = affine_scan(whole, moved[:, -1, :] + r[:, -1, :])
        moved = moved + apply(whole, before(u))[:, None, :]
        return xp.permute_dims(r + apply(inverses, moved), (2, 1, 0))

    def _fit(self, xp):
        """Fit ``A``, from the right end where it is the identity.

        Returns
        -------
        slopes : array, shape (N, s, n, n)
            ``-A' = h A J`` at the nodes.
        inverses : array, shape (N, s, n, n)
            Of ``A`` at the nodes.
        whole : array, shape (N, n, n)
            ``A`` at the left end.
        """
        n, _, s, n_steps = self.jacobians.shape
        b, a = self.tableau.b, self.tableau.a
        hJ = xp.permute_dims(self.h * self.jacobians, (3, 2, 0, 1))
        # A(c_i) = I + sum_j (b_j - a_ij) h A(c_j) J_j, transposed
        weights = (a - b)[:, None, :, None]
        transposed = xp.permute_dims(hJ, (0, 3, 1, 2))[:, None, :, :, :]
        matrices = xp.reshape(weights * transposed, (n_steps, s * n, s * n))
        add_to_diagonal(xp, matrices, 1.0)
        columns = like(matrices, np.tile(np.eye(n), (s, 1)))
        columns = xp.broadcast_to(columns, (n_steps, s * n, n))
        A = xp.reshape(solve(matrices, columns), (n_steps, s, n, n))
        A = xp.matrix_transpose(A)
        slopes = A @ hJ
        whole = like(slopes, np.eye(n)) + xp.sum(b[:, None, None] * slopes, axis=1)
        return slopes, invert(A), whole
