"""Array libraries besides NumPy, with a device whose arrays NumPy cannot read."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

LIBRARIES = [
    "array_api_strict",
    pytest.param("cupy", marks=pytest.mark.gpu),
]


@dataclass
class Library:
    """A library and one of its devices.

    Attributes
    ----------
    name : str
    xp : namespace
    device : object
    home : object
        The device whose arrays NumPy can read.
    """

    name: str
    xp: Any
    device: Any
    home: Any

    @property
    def rounds_like_numpy(self):
        """Whether the arithmetic is NumPy's, to the last bit.

        Where it is not, differences that Jacobians are made of multiply rounding errors
        by the reciprocal of their increment, and estimates of errors near rounding
        decide about steps.
        """
        return self.name == "array_api_strict"

    def put(self, values, dtype=None):
        """Array on the device."""
        return self.xp.asarray(np.asarray(values, dtype), device=self.device)

    def get(self, array):
        """Array of NumPy's, from one that must be on the device."""
        assert type(array) is type(self.put(0.0))
        if self.name == "cupy":
            return array.get()
        assert array.device == self.device
        return np.asarray(array.to_device(self.home))


def find_library(name):
    """Library of that name, or skip."""
    if name == "array_api_strict":
        xp = pytest.importorskip(name)
        # conversions from this device raise, and so does mixing it with others
        return Library(name, xp, xp.Device("device1"), xp.Device("CPU_DEVICE"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"there is no CUDA device: {error}")
    if n_devices == 0:
        pytest.skip("there is no CUDA device")
    import array_api_compat.cupy as xp

    return Library(name, xp, cupy.cuda.Device(0), None)


def rows(y):
    """Components, in the form that the standard has for states (n,) and (n, m)."""
    return [y[i, ...] for i in range(y.shape[0])]
