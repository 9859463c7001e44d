"""Every instance of the CUDA kernels is compiled for devices that are not there."""

import concurrent.futures
import ctypes
import functools
import importlib.metadata
import itertools

import pytest

from parivp import _rosenbrock_cuda as rosenbrock
from parivp._scan.cuda import kernel_options, kernel_source
from parivp._scan.launch_plan import MAX_DIM, plan_launch

PACKAGE = "nvidia-cuda-nvrtc"
ARCHITECTURES = ("sm_80", "sm_90")
INSTANCES = list(itertools.product(range(1, MAX_DIM + 1), (4, 8), (False, True)))


@functools.cache
def nvrtc():
    """The library, as the package of its name on PyPI has it; None without it."""
    try:
        files = importlib.metadata.files(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    (path,) = (f for f in files if f.name.startswith("libnvrtc.so."))
    return ctypes.CDLL(str(path.locate()))


def checked(status, program=None):
    if status == 0:
        return
    nvrtc().nvrtcGetErrorString.restype = ctypes.c_char_p
    message = nvrtc().nvrtcGetErrorString(status).decode()
    if program is not None:
        message += "\n" + output(program, "ProgramLog").decode()
    raise RuntimeError(message)


def output(program, what):
    size = ctypes.c_size_t()
    checked(getattr(nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    checked(getattr(nvrtc(), f"nvrtcGet{what}")(program, text))
    return text.raw


def compile_cubin(source, options):
    """The cubin and the compiler's log."""
    program = ctypes.c_void_p()
    arguments = (ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    checked(nvrtc().nvrtcCreateProgram(*arguments))
    encoded = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    checked(nvrtc().nvrtcCompileProgram(program, len(options), encoded), program)
    return output(program, "CUBIN"), output(program, "ProgramLog").decode()


def need_nvrtc():
    if nvrtc() is None:
        pytest.skip(f"NVRTC is not installed; pip install {PACKAGE}")


@pytest.fixture(scope="module")
def compiled():
    """Futures of cubin and log by instance and architecture."""
    need_nvrtc()
    source = kernel_source()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {
            (d, itemsize, steps_last, architecture): pool.submit(
                compile_cubin,
                source,
                [
                    f"-arch={architecture}",
                    "--ptxas-options=-v",
                    *kernel_options(plan_launch(d, itemsize, steps_last=steps_last)),
                ],
            )
            for d, itemsize, steps_last in INSTANCES
            for architecture in ARCHITECTURES
        }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("d", "itemsize", "steps_last"), INSTANCES)
def test_compiles(compiled, d, itemsize, steps_last, architecture):
    """To machine code that spills no registers."""
    cubin, log = compiled[d, itemsize, steps_last, architecture].result()
    assert b"affine_scan" in cubin
    assert_compiled_well(cubin, log)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rosenbrock_steps_compile(architecture):
    need_nvrtc()
    options = [f"-arch={architecture}", "--ptxas-options=-v", *rosenbrock.OPTIONS]
    cubin, log = compile_cubin(rosenbrock.kernel_source(), options)
    for kernel in rosenbrock.KERNELS:
        assert kernel.encode() in cubin
    assert_compiled_well(cubin, log)


def assert_compiled_well(cubin, log):
    assert cubin[:4] == b"\x7fELF"
    assert "error" not in log
    assert "warning" not in log
    assert "0 bytes spill stores, 0 bytes spill loads" in log
