"""The package works where CuPy cannot be imported, and says what it lacks."""

import subprocess
import sys

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""

SOLVES = """
import numpy as np
import parivp

res = parivp.solve_ivp(lambda t, y: -y, (0, 1), [1.0], rtol=1e-9)
assert res.success
assert abs(res.y[0, -1] - np.exp(-1)) < 1e-8
A, b = np.full((4, 1, 1), 2.0), np.ones((4, 1))
for backend in (None, "sequential", "banded", "associative"):
    u = parivp.affine_scan(A, b, backend=backend)
    assert np.array_equal(u[:, 0], [1, 3, 7, 15])
try:
    parivp.affine_scan(A, b, backend="cuda")
except ValueError as error:
    assert "cupy" in str(error)
else:
    raise AssertionError("NumPy arrays on a GPU")
try:
    parivp.solve_ivp(lambda t, y: -y, (0, 1), [1.0], device="cuda")
except ImportError as error:
    assert "parivp[cuda13x]" in str(error)
else:
    raise AssertionError("a GPU without CuPy")
assert "cupy" not in sys.modules
"""


def test_works_where_cupy_cannot_be_imported():
    subprocess.run([sys.executable, "-c", BLOCKED + SOLVES], check=True)


def test_does_not_import_cupy():
    check = "import parivp, sys; assert not any('cupy' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
