"""The affine recursion by recursive doubling over pairs, in log depth.

Source: Blelloch, "Prefix sums and their applications", 1990; Iacob, Razavi,
Särkkä, "A parallel-in-time Newton's method-based ODE solver", eq. (14).
"""

from .._array_namespace import new_empty

__all__ = ["affine_scan_associative"]


def affine_scan_associative(xp, A, b):
    """Solve ``u_k = A_k u_{k-1} + b_k``, ``u_{-1} = 0`` by an associative scan."""
    return _scan(xp, A, b[..., None])[1][..., 0]


def _combine(earlier, later):
    """Compose two affine maps: ``later`` after ``earlier``."""
    A1, b1 = earlier
    A2, b2 = later
    return A2 @ A1, A2 @ b1 + b2


def _steps(maps, steps):
    """Select some steps of affine maps, which run along the last axis but two."""
    return tuple(part[..., steps, :, :] for part in maps)


def _scan(xp, *maps):
    """All prefixes: combine neighbours, scan the pairs, fill in the others."""
    n = maps[1].shape[-3]
    if n < 2:
        return maps
    even_end, rest = n // 2 * 2, (n - 1) // 2
    pairs = _combine(
        _steps(maps, slice(0, even_end, 2)), _steps(maps, slice(1, None, 2))
    )
    odd = _scan(xp, *pairs)
    even = _combine(_steps(odd, slice(rest)), _steps(maps, slice(2, None, 2)))
    first = _steps(maps, slice(1))
    return tuple(
        _interleave(xp, xp.concat([head, tail], axis=-3), other)
        for head, tail, other in zip(first, even, odd, strict=True)
    )


def _interleave(xp, even, odd):
    *batch, n_even, rows, columns = even.shape
    shape = (*batch, n_even + odd.shape[-3], rows, columns)
    out = new_empty(even, shape)
    out[..., ::2, :, :] = even
    out[..., 1::2, :, :] = odd
    return out
