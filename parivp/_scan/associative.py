"""The affine recursion by recursive doubling over pairs, in log depth.

Source: Blelloch, "Prefix sums and their applications", 1990; Iacob, Razavi,
Särkkä, "A parallel-in-time Newton's method-based ODE solver", eq. (14).
"""

__all__ = ["affine_scan_associative"]


def affine_scan_associative(xp, A, b):
    """Solve ``u_k = A_k u_{k-1} + b_k``, ``u_{-1} = 0`` by an associative scan."""
    return _scan(xp, A, b[:, :, None])[1][:, :, 0]


def _combine(earlier, later):
    """Compose two affine maps: ``later`` after ``earlier``."""
    A1, b1 = earlier
    A2, b2 = later
    return A2 @ A1, A2 @ b1 + b2


def _scan(xp, A, b):
    """All prefixes: combine neighbours, scan the pairs, fill in the others."""
    n = b.shape[0]
    if n < 2:
        return A, b
    m = n // 2
    pairs = _combine(
        (A[: 2 * m : 2, ...], b[: 2 * m : 2, ...]), (A[1::2, ...], b[1::2, ...])
    )
    odd = _scan(xp, *pairs)
    rest = (n - 1) // 2
    even = _combine(
        (odd[0][:rest, ...], odd[1][:rest, ...]), (A[2::2, ...], b[2::2, ...])
    )
    return tuple(
        _interleave(xp, xp.concat([first[:1, ...], tail]), other)
        for first, tail, other in zip((A, b), even, odd, strict=True)
    )


def _interleave(xp, even, odd):
    out = xp.empty((even.shape[0] + odd.shape[0], *even.shape[1:]), dtype=even.dtype)
    out[::2, ...] = even
    out[1::2, ...] = odd
    return out
