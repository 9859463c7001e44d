import dataclasses
import json
import sys
import types

import array_api_strict
import numpy as np
import pytest

from benchmarks import gpu, gpu_worker, scan_bandwidth
from parivp._problems import PROBLEMS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    files = folder / "gpu.json", folder / "gpu.md"
    gpu.main(
        ["--sizes", "40", "--problems", "logistic", "robertson", "--minutes", "1"]
        + ["--libraries", "numpy", "--json", str(files[0]), "--markdown", str(files[1])]
    )
    return files


def test_record(files):
    record = json.loads(files[0].read_text())
    assert "not run" not in record["libraries"]["numpy"]
    cases = {
        (case["problem"], case["library"], case["method"]): case
        for case in record["cases"]
    }
    for problem in ("logistic", "robertson"):
        for method in ("windows", "one_window"):
            case = cases[problem, "numpy", method]
            assert case["error"] < 1e-8
            assert case["iterations"] > 1
            assert case["warm"] > 0
            assert case["cold"] > 0
            assert cases[problem, "cupy", method] == {
                **{"problem": problem, "n_steps": 40},
                **{"library": "cupy", "method": method, "not run": "not asked for"},
            }
    assert ("logistic", "jax-gpu", "parareal") in cases
    assert ("robertson", "jax-gpu", "parareal") not in cases
    assert record["scan_bandwidth"] == {"not run": "not asked for"}


def test_table(files):
    lines = files[1].read_text().splitlines()
    assert "| logistic | N = 40 |" in lines
    assert "| parivp, CuPy | not run |" in lines
    assert sum(line.startswith("| parivp, NumPy | ") for line in lines) == 2


def test_jax_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(gpu_worker.Failure, match="JAX is not installed"):
        gpu_worker.JaxLibrary("cpu")


class WrongLibrary(gpu_worker.NumPyLibrary):
    """Solutions that are off by a relative 1e-7."""

    def solver(self, method, name, n_steps):
        return lambda: (gpu_worker.recursion(name, n_steps) * (1 + 1e-7), 3)


class NoMemoryLibrary(gpu_worker.NumPyLibrary):
    def solver(self, method, name, n_steps):
        def solve():
            raise MemoryError

        return solve


@pytest.mark.parametrize(
    ("library", "outcome"),
    [
        (WrongLibrary(), "error 1e-07 after 3 iterations"),
        (NoMemoryLibrary(), "out of memory"),
    ],
)
def test_failures_are_not_timed(library, outcome, tmp_path):
    reference = tmp_path / "reference.npy"
    np.save(reference, gpu_worker.recursion("logistic", 10))
    request = {"method": "windows", "problem": "logistic", "n_steps": 10}
    result = gpu_worker.answer(library, request | {"reference": str(reference)})
    assert result == {"failed": outcome}


def test_reference_of_fewer_steps():
    fine, coarse = (gpu_worker.recursion("van_der_pol", n) for n in (4000, 2000))
    assert gpu_worker.relative_error(fine, coarse) < 1e-8
    assert gpu_worker.relative_error(np.roll(fine, 1, axis=0), coarse) > 1e-3


@pytest.mark.parametrize("name", ["dahlquist", "robertson"])
def test_implicit_recursion_and_jacobian(name):
    problem = PROBLEMS[name]
    states = gpu_worker.recursion(name, 400).T
    before = np.column_stack([problem.y0, states[:, :-1]])
    h = problem.t_span[1] / 400
    residual = states - before - h * np.asarray(problem.fun(0.0, states))
    assert abs(residual).max() < 1e-13
    jac = gpu_worker.broadcasting_jac(name)
    known = problem.jac(0.0, states)
    np.testing.assert_array_equal(jac(0.0, states), known)
    found = jac(0.0, array_api_strict.asarray(states))
    np.testing.assert_array_equal(np.asarray(found), known)


def test_time_that_has_run_out(tmp_path):
    sizes = {"logistic": [10, 20]}
    experiments = gpu.Experiments(sizes, ["numpy"], 0.0, 20.0, tmp_path)
    experiments.run(lambda key, result: None)
    outcomes = {
        key[2:]: result
        for key, result in experiments.results.items()
        if key[2] == "numpy"
    }
    assert set(map(str, outcomes.values())) == {str({"not run": gpu.NO_TIME})}


def test_no_time_for_the_bandwidth(tmp_path):
    outcome = gpu.scan_bandwidth({"device": "a GPU"}, tmp_path, -3.0)
    assert outcome == {"not run": gpu.NO_TIME}


@pytest.mark.parametrize(
    ("known", "expected"),
    [({"warm": 3.0}, 60.0), ({"failed": "", "stopped": 4.0}, 80.0)],
)
def test_long_cases_are_left_out(known, expected, tmp_path):
    sizes = {"logistic": [10, 100, 1000]}
    experiments = gpu.Experiments(sizes, ["numpy"], 1.0, 50.0, tmp_path)
    case = "logistic", 100, "numpy", "windows"
    try:
        experiments.results["logistic", 10, "numpy", "windows"] = known
        experiments.results[case] = experiments.measure(*case)
        assert experiments.results[case] == {"not run": f"about {expected:.0f} s"}
        result = experiments.measure("logistic", 1000, "numpy", "windows")
        assert result == {"not run": f"about {10 * expected:.0f} s"}
    finally:
        experiments.workers["numpy"].stop()


def test_processes_that_end_or_hang_start_again(tmp_path):
    worker = gpu.Worker("numpy", tmp_path)
    request = {"method": "recursion", "problem": "logistic", "n_steps": 10}
    request["reference"] = str(tmp_path / "reference.npy")
    try:
        worker.process.kill()
        assert "failed" in worker.ask(request, 30)
        assert "warm" in worker.ask(request, 30)
        long = request | {"n_steps": 10**7}
        stopped = worker.ask(long, 0.1)
        assert stopped == {"failed": "stopped after 0.1 s", "stopped": 0.1}
        assert "warm" in worker.ask(request, 30)
    finally:
        worker.stop()


@pytest.mark.parametrize("d", [1, 2])
def test_composition_for_cuda_compute(d):
    compute = types.SimpleNamespace(gpu_struct=dataclasses.dataclass)
    Map, compose, identity = scan_bandwidth.compute_composition(compute, d)
    A1, A2 = np.random.default_rng(0).standard_normal((2, d, d))
    b1, b2 = np.random.default_rng(1).standard_normal((2, d))
    first, second = Map(*A1.ravel(), *b1), Map(*A2.ravel(), *b2)
    both = dataclasses.astuple(compose(first, second))
    np.testing.assert_allclose(both, [*(A2 @ A1).ravel(), *(A2 @ b1 + b2)], rtol=1e-13)
    assert compose(identity, second) == second
