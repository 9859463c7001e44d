"""The initial state of the recursion, for backends that start from zero."""

__all__ = ["absorb_initial"]


def absorb_initial(xp, A, b, u0):
    """Let the initial state enter the first inhomogeneity: ``b_0 + A_0 u0``."""
    first = b[..., 0, :] + (A[..., 0, :, :] @ u0[..., None])[..., 0]
    return xp.concat([first[..., None, :], b[..., 1:, :]], axis=-2)
