"""The affine recursion step by step: the oracle the other backends meet."""

__all__ = ["affine_scan_sequential"]


def affine_scan_sequential(xp, A, b):
    """Solve ``u_k = A_k u_{k-1} + b_k``, ``u_{-1} = 0`` in a loop over ``k``."""
    u = xp.empty_like(b)
    previous = xp.zeros_like(b[..., 0, :])
    for k in range(b.shape[-2]):
        previous = (A[..., k, :, :] @ previous[..., None])[..., 0] + b[..., k, :]
        u[..., k, :] = previous
    return u
