"""Shared configuration: Hypothesis profiles, markers, the methods under test."""

import os

import pytest
from array_libraries import LIBRARIES, find_library
from hypothesis import HealthCheck, settings

import parivp

# Methods of parivp that every test of the contract runs with.  A new method is
# tested the moment its name is entered here.
METHODS = ("ScanNewton", "ScanNewtonImplicit", "ParODE")


def method_for(tableau):
    """Name of the method that takes a tableau."""
    implicit = parivp.TABLEAUS[tableau].kind == "implicit"
    return "ScanNewtonImplicit" if implicit else "ScanNewton"


# Options of each method with which it does little work on a given mesh.
FIXED_STEP_OPTIONS = {
    "ScanNewton": {"tableau": "RK4"},
    "ScanNewtonImplicit": {"tableau": "RadauIIA5"},
    "ParODE": {"n_basis": (2, 4)},
}


COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", derandomize=True, max_examples=40, **COMMON)
settings.register_profile("long", max_examples=1000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    parser.addoption(
        "--run-slow", action="store_true", help="also run the tests marked slow"
    )


def pytest_configure(config):
    # Marks of SciPy's own test file, which test_scipy_suite.py runs.
    config.addinivalue_line("markers", "thread_unsafe: mark of SciPy's tests")
    config.addinivalue_line("markers", "fail_slow: mark of SciPy's tests")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow") or "slow" in config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="slow; run with --run-slow")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


@pytest.fixture(params=METHODS)
def method(request):
    """Name of a method of parivp."""
    return request.param


@pytest.fixture(params=LIBRARIES)
def library(request):
    """A library besides NumPy, with a device."""
    return find_library(request.param)


def counting(read, counted):
    """Method that notes the shapes of what it reads."""

    def wrapper(self):
        counted.append(self.shape)
        return read(self)

    return wrapper


@pytest.fixture(scope="session")
def cupy():
    """CuPy, where there is a device."""
    find_library("cupy")
    return pytest.importorskip("cupy")


@pytest.fixture
def reads(library, monkeypatch):
    """Count the numbers that are read from the device, in a list."""
    if library.name != "array_api_strict":
        pytest.skip("reads are counted with array_api_strict")
    counted = []
    cls = type(library.put(0.0))
    for name in ("__float__", "__int__", "__bool__", "__index__", "__complex__"):
        monkeypatch.setattr(cls, name, counting(getattr(cls, name), counted))
    return counted
