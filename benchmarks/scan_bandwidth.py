"""Bandwidth of the CUDA affine scan, beside a copy of the same bytes.

Run as ``python -m benchmarks.scan_bandwidth``; needs a CUDA device and CuPy.

A scan has to read ``A`` and ``b`` and to write ``u``, d**2 + 2 d numbers a step.
"copy" is the time of a device-to-device copy that reads and writes as many bytes
together; "of copy" is that time over the time of the kernel. "log-depth" is the
associative scan of `parivp.affine_scan` on CuPy arrays, "jax" is
``jax.lax.associative_scan`` with the same operator, compiled, where JAX is installed
with a GPU; "cuda.compute" is the inclusive scan of that module, of the package
cuda-cccl, over structures of a matrix and a vector, whose composition is written out
here for d = 1 and 2. Times in milliseconds are medians, after a warm-up; "cold" is the
first call, compilation included unless CuPy finds the kernel in its cache on disk.
``--tune`` times other launch plans, too.
"""

import argparse
import json
import os
import statistics
import time

import numpy as np

DIMENSIONS = (1, 2, 4, 8, 16)
RESIDENT_BLOCKS = (1, 2, 3, 4, 6)
LOG_GROUPS = (5, 6, 7, 8, 9)
REPEATS = 20
HEADER = (
    "  d dtype       n_steps      copy    kernel  of copy     GB/s  log-depth "
    "       jax  cuda.compute      cold"
)


def import_cupy():
    """CuPy and no reason, or None and the reason why nothing can be run."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy, None
        return None, "there is no CUDA device"
    except ImportError:
        return None, "CuPy is not installed"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def import_jax():
    """JAX on a GPU in 64 bits, or None."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax if jax.default_backend() == "gpu" else None
    except Exception:
        return None


def import_compute():
    """Return the module ``cuda.compute``, or None."""
    try:
        import cuda.compute

        return cuda.compute
    except Exception:
        return None


def milliseconds(cupy, function):
    """Median time of a function on the device."""
    function()
    times = []
    for _ in range(REPEATS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return statistics.median(times)


def cold_milliseconds(cupy, function):
    """Time of the first call on the host's clock."""
    start = time.perf_counter()
    function()
    cupy.cuda.get_current_stream().synchronize()
    return 1e3 * (time.perf_counter() - start)


def copy_milliseconds(cupy, n_bytes):
    """Time of a copy that reads and writes so many bytes together."""
    source = cupy.zeros(n_bytes // 2, cupy.uint8)
    target = cupy.empty_like(source)
    return milliseconds(
        cupy, lambda: target.data.copy_from_device_async(source.data, source.nbytes)
    )


def problem(cupy, n_steps, d, dtype, steps_last):
    rng = cupy.random.default_rng(0)
    A = rng.standard_normal((n_steps, d, d), dtype=dtype)
    A *= 0.9 / abs(A).sum(axis=-1, keepdims=True)
    b = rng.standard_normal((n_steps, d), dtype=dtype)
    if steps_last:
        A = cupy.moveaxis(cupy.ascontiguousarray(cupy.moveaxis(A, 0, -1)), -1, 0)
        b = cupy.ascontiguousarray(b.T).T
    return A, b


def jax_milliseconds(jax, cupy, A, b):
    def combine(earlier, later):
        (A1, b1), (A2, b2) = earlier, later
        return A2 @ A1, (A2 @ b1[..., None])[..., 0] + b2

    @jax.jit
    def scan(A, b):
        return jax.lax.associative_scan(combine, (A, b))[1]

    A, b = (jax.numpy.asarray(cupy.asnumpy(x)) for x in (A, b))
    scan(A, b).block_until_ready()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        scan(A, b).block_until_ready()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def compute_composition(compute, d):
    """Structure of an affine map of dimension 1 or 2, its composition, the identity."""
    if d == 1:

        @compute.gpu_struct
        class Map:
            a: np.float64
            b: np.float64

        def compose(f, g):  # first f, then g
            return Map(g.a * f.a, g.a * f.b + g.b)

        return Map, compose, Map(1.0, 0.0)

    @compute.gpu_struct
    class Map2:
        a: np.float64
        b: np.float64
        c: np.float64
        d: np.float64
        x: np.float64
        y: np.float64

    def compose2(f, g):
        return Map2(
            g.a * f.a + g.b * f.c,
            g.a * f.b + g.b * f.d,
            g.c * f.a + g.d * f.c,
            g.c * f.b + g.d * f.d,
            g.a * f.x + g.b * f.y + g.x,
            g.c * f.x + g.d * f.y + g.y,
        )

    return Map2, compose2, Map2(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def compute_milliseconds(compute, cupy, A, b):
    """Time of the scan of ``cuda.compute``, or why there is none."""
    from parivp import affine_scan

    if compute is None:
        return "not installed"
    n_steps, d = b.shape
    if d > 2 or b.dtype != cupy.float64:
        return "not written"
    maps = cupy.concatenate([A.reshape(n_steps, d * d), b], axis=1)
    out = cupy.empty_like(maps)
    try:
        Map, compose, identity = compute_composition(compute, d)
        arguments = {
            "d_in": maps.view(Map.dtype).reshape(n_steps),
            "d_out": out.view(Map.dtype).reshape(n_steps),
            "op": compose,
            "init_value": identity,
            "num_items": n_steps,
        }
        time_ms = milliseconds(cupy, lambda: compute.inclusive_scan(**arguments))
    except Exception as error:
        return f"failed: {type(error).__name__}"
    error = abs(out[:, d * d :] - affine_scan(A, b)).max()
    return time_ms if float(error) < 1e-8 else f"failed: error {float(error):.0e}"


def other_plans(cupy, A, b, steps_last):
    """Time of the kernel by blocks on a multiprocessor and size of groups."""
    from parivp._scan.cuda import launch
    from parivp._scan.launch_plan import plan_launch

    runtime = cupy.cuda.runtime
    limit = runtime.deviceGetAttribute(
        runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, b.device.id
    )
    times = {}
    for blocks in RESIDENT_BLOCKS:
        for log_group in LOG_GROUPS:
            try:
                plan = plan_launch(
                    b.shape[-1], b.dtype.itemsize, limit, blocks, log_group, steps_last
                )
            except ValueError:
                continue
            times[f"{blocks} blocks, groups of {2**log_group}"] = milliseconds(
                cupy, lambda plan=plan: launch(plan, A, b)
            )
    return times


def measure(cupy, jax, compute, d, n_bytes, dtype, steps_last, tune):
    from parivp import affine_scan

    itemsize = cupy.dtype(dtype).itemsize
    n_steps = max(1, n_bytes // ((d * d + 2 * d) * itemsize))
    A, b = problem(cupy, n_steps, d, dtype, steps_last)
    row = {"d": d, "dtype": dtype, "n_steps": n_steps}
    row["cold"] = cold_milliseconds(cupy, lambda: affine_scan(A, b, backend="cuda"))
    n_moved = n_steps * (d * d + 2 * d) * itemsize
    row["copy"] = copy_milliseconds(cupy, n_moved)
    row["kernel"] = milliseconds(cupy, lambda: affine_scan(A, b, backend="cuda"))
    row["of copy"] = row["copy"] / row["kernel"]
    row["GB/s"] = n_moved / row["kernel"] / 1e6
    row["log-depth"] = milliseconds(
        cupy, lambda: affine_scan(A, b, backend="associative")
    )
    row["jax"] = "not run" if jax is None else jax_milliseconds(jax, cupy, A, b)
    row["cuda.compute"] = compute_milliseconds(compute, cupy, A, b)
    if tune:
        row["plans"] = other_plans(cupy, A, b, steps_last)
    cupy.get_default_memory_pool().free_all_blocks()
    return row


def print_row(row):
    jax, compute = (
        value if isinstance(value, str) else f"{value:.3f}"
        for value in (row["jax"], row["cuda.compute"])
    )
    print(
        f"{row['d']:3} {row['dtype']} {row['n_steps']:11} {row['copy']:9.3f} "
        f"{row['kernel']:9.3f} {row['of copy']:8.2f} {row['GB/s']:8.0f} "
        f"{row['log-depth']:10.3f} {jax:>9} {compute:>13} {row['cold']:9.0f}",
        flush=True,
    )
    for plan, time_ms in sorted(row.get("plans", {}).items(), key=lambda item: item[1]):
        print(f"      {time_ms:9.3f} ms with {plan}", flush=True)


def write_record(path, record):
    """Replace the file as a whole, so that it is complete whenever the run ends."""
    if path:
        unfinished = f"{path}.part"
        with open(unfinished, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
        os.replace(unfinished, path)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scan_bandwidth",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("--bytes", type=float, default=1e9, help="read and written")
    parser.add_argument("--dtype", nargs="+", default=["float64"])
    parser.add_argument("--d", nargs="+", type=int, default=DIMENSIONS)
    parser.add_argument(
        "--steps-last", action="store_true", help="steps along the last axis in memory"
    )
    parser.add_argument("--tune", action="store_true", help="time other plans, too")
    parser.add_argument("--json", help="file to write the record to")
    args = parser.parse_args()
    cupy, reason = import_cupy()
    if cupy is None:
        print(f"not run: {reason}")
        return
    jax, compute = import_jax(), import_compute()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{name}, CuPy {cupy.__version__}, JAX {jax and jax.__version__}")
    print(HEADER)
    rows = []
    for dtype in args.dtype:
        for d in args.d:
            row = measure(
                *(cupy, jax, compute, d),
                *(int(args.bytes), dtype, args.steps_last, args.tune),
            )
            rows.append(row)
            print_row(rows[-1])
            record = {"device": name, "steps_last": args.steps_last, "rows": rows}
            write_record(args.json, record)


if __name__ == "__main__":
    main()
