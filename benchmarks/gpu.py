"""The paper's experiments with parivp on a GPU and on a CPU, and with JAX.

Run as ``python -m benchmarks.gpu``. The GPU columns need CuPy and a CUDA device; those
of JAX need it installed (``pip install jax``, ``pip install "jax[cuda13]"``). What is
not there says "not run".

The five problems of the paper on parallel-in-time Newton's method are solved with its
steps: the classical Runge-Kutta method for the explicit ones, backward Euler for the
implicit ones. parivp does so in windows, as it does by default, and as the paper does,
in one window from a constant guess. JAX runs the paper's algorithm as
``benchmarks.jax_parallel_newton`` writes it: Newton's method until an update
is small, "unrolled" with products of matrices as sums, "as in the paper" for as many
iterations as the paper states; the recursion; and Parareal for the explicit problems.
For Robertson's reaction those are 21, from a guess of zeros, after which Newton's
method is still at a relative error of 9e-5; two more reach the recursion.
For the implicit problems parivp is given the Jacobian; JAX differentiates by itself.

"warm" is the median of several calls, each until the device is done, results left on
it. "cold" is the first call of its case, compilation of JAX included; kernels
of CuPy are compiled by the first case that needs them. Every trajectory is compared
with the recursion in Python, or beyond 1e6 steps with that of fewer steps; the number
in parentheses is the largest difference by component, relative to the largest of the
component. What differs by more than 1e-8 has failed and is not timed.

Each library runs in a process of its own. With the time that is left after the most
important columns others are measured; those without say "no time left". The
bandwidth of the scan is that of ``benchmarks.scan_bandwidth``.
"""

import argparse
import datetime
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import scipy

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "benchmarks"
EXPLICIT = ("logistic", "van_der_pol", "cart_pole")
# Section 4 of the paper: the steps of its figures 1 and 3, and beyond.
SIZES = {
    "logistic": (10**3, 10**4, 10**5, 10**6, 10**7),
    "van_der_pol": (10**3, 10**4, 10**5, 10**6, 10**7),
    "cart_pole": (400, 4000, 40_000, 400_000, 4_000_000),
    "dahlquist": (40, 400, 4000, 40_000),
    "robertson": (5000, 50_000, 100_000),
}
LARGEST_REFERENCE = 10**6  # the recursion in Python takes 10 us a step and more
LARGEST_ON_CPU = 10**5
# Column: library and method, in order of importance; a rank runs for all cases first.
RANKS = (
    (("numpy", "recursion"),),
    (("cupy", "windows"), ("cupy", "one_window"), ("jax-gpu", "newton")),
    (("numpy", "windows"), ("jax-cpu", "sequential")),
    (("jax-gpu", "sequential"), ("jax-gpu", "parareal")),
    (("numpy", "one_window"), ("jax-gpu", "newton_unrolled")),
    (("jax-gpu", "newton_paper"), ("jax-gpu", "parareal_paper")),
)
# On the CPU JAX runs these where it has no GPU.
STAND_INS = (
    (("jax-cpu", "newton"), ("jax-cpu", "newton_paper")),
    (("jax-cpu", "parareal"), ("jax-cpu", "parareal_paper")),
    (("jax-cpu", "newton_unrolled"),),
)
BANDWIDTH_AFTER = 3  # ranks
BANDWIDTH_SECONDS = 120
HEADINGS = {
    "numpy": "NumPy",
    "cupy": "CuPy",
    "jax-gpu": "JAX, GPU",
    "jax-cpu": "JAX, CPU",
    "recursion": "recursion",
    "sequential": "recursion",
    "windows": "parivp",
    "one_window": "parivp in one window",
    "newton": "Newton",
    "newton_unrolled": "Newton unrolled",
    "newton_paper": "Newton as in the paper",
    "parareal": "Parareal",
    "parareal_paper": "Parareal as in the paper",
}
START_SECONDS = 60  # a library may take to start
LEAST_SECONDS = 2  # for which a case is begun
NO_TIME = "no time left"


class Worker:
    """A library in a process of its own, started when it is first asked.

    Attributes
    ----------
    about : dict
        What it runs on, or "not run" and the reason.
    """

    def __init__(self, library, folder):
        self.library = library
        self.errors = Path(folder) / f"{library}.txt"
        self.folder = folder
        self.process = None
        self.about = self.start(START_SECONDS)

    def start(self, seconds):
        """Start the process; return its first message."""
        # Kernels in a cache on disk would make the first call a warm one.
        environment = os.environ | {"CUPY_CACHE_DIR": str(Path(self.folder) / "cupy")}
        # JAX would take most of the device's memory for itself.
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        if self.library == "jax-cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        self.lines = queue.Queue()
        with open(self.errors, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu_worker", self.library],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        threading.Thread(
            target=self.read, args=(self.process.stdout, self.lines), daemon=True
        ).start()
        about = self.receive(seconds)
        if "failed" in about:
            about = {"not run": about["failed"]}
        return about

    @staticmethod
    def read(stream, lines):
        """Pass on what a process writes; None is its end."""
        for line in stream:
            lines.put(line)
        lines.put(None)

    def receive(self, seconds):
        """Return the next message, or why there is none and the process ended."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            return {"failed": f"stopped after {seconds:.3g} s", "stopped": seconds}
        if line is not None:
            return json.loads(line)
        code = self.process.wait()
        self.stop()
        text = self.errors.read_text(encoding="utf-8", errors="replace")
        last = (text.strip().splitlines() or [f"process ended with code {code}"])[-1]
        return {"failed": last}

    def ask(self, request, seconds):
        """Return the answer to a request; a process that ended starts again."""
        if "not run" in self.about:
            return {"not run": self.about["not run"]}
        if self.process is None and "not run" in (about := self.start(seconds)):
            return {"failed": about["not run"]}
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except OSError:
            pass  # it has ended, `receive` says why
        return self.receive(seconds)

    def stop(self):
        """End the process."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except OSError:
                pass
        self.process = None


class Experiments:
    """The cases, what is known of them, and the time that is left."""

    def __init__(self, sizes, libraries, minutes, case_seconds, folder):
        self.end = time.monotonic() + 60 * minutes
        self.case_seconds = case_seconds
        self.folder = Path(folder)
        self.workers = {name: Worker(name, folder) for name in libraries}
        self.sizes = {
            problem: [n for n in ns if n <= self.largest()]
            for problem, ns in sizes.items()
        }
        self.results = {}

    def largest(self):
        """Most steps that are tried: fewer where there is no GPU."""
        on_gpu = [w for n, w in self.workers.items() if n in ("cupy", "jax-gpu")]
        there = any("not run" not in worker.about for worker in on_gpu)
        return np.inf if there else LARGEST_ON_CPU

    def about(self, library):
        """Return what a library runs on."""
        if library not in self.workers:
            return {"not run": "not asked for"}
        return self.workers[library].about

    def left(self):
        """Seconds that are left."""
        return self.end - time.monotonic()

    def run(self, show):
        """Measure all cases; return the bandwidths of the scan."""
        bandwidth = None
        there = "not run" not in self.about("jax-gpu")
        for i, rank in enumerate(RANKS if there else RANKS + STAND_INS):
            if i == BANDWIDTH_AFTER:
                bandwidth = scan_bandwidth(self.about("cupy"), self.folder, self.left())
            # by number of steps from the smallest: the largest are left out first
            for k in range(max(map(len, self.sizes.values()))):
                for problem, sizes in self.sizes.items():
                    for library, method in rank:
                        if k < len(sizes) and applies(method, problem, sizes[k]):
                            key = problem, sizes[k], library, method
                            self.results[key] = self.measure(*key)
                            if "not run" not in self.about(library):
                                show(key, self.results[key])
        for worker in self.workers.values():
            worker.stop()
        return bandwidth

    def measure(self, problem, n_steps, library, method):
        """Measure one case, or say why not."""
        about = self.about(library)
        if "not run" in about:
            return about
        reference = self.reference(problem, n_steps)
        expected = self.expected(problem, n_steps, library, method)
        if self.left() < LEAST_SECONDS:
            return {"not run": NO_TIME}
        if expected > self.case_seconds:
            return {"not run": f"about {expected:.0f} s"}
        if expected > self.left():
            return {"not run": NO_TIME}
        if method != "recursion" and not reference.exists():
            return {"not run": "there is no reference"}
        request = {
            "method": method,
            "problem": problem,
            "n_steps": n_steps,
            "reference": str(reference),
        }
        start = time.monotonic()
        # the first case of a library may compile for long
        limit = min(self.left(), 3 * self.case_seconds)
        result = self.workers[library].ask(request, limit)
        if self.left() < 1 and "warm" not in result:
            return {"not run": NO_TIME}
        return result | {"seconds": time.monotonic() - start}

    def reference(self, problem, n_steps):
        """File of the recursion with as many steps, or as many as were computed."""
        sizes = [n for n in self.sizes[problem] if n <= LARGEST_REFERENCE]
        n_reference = max((n for n in sizes if n_steps % n == 0), default=n_steps)
        return self.folder / f"{problem}_{n_reference}.npy"

    def expected(self, problem, n_steps, library, method):
        """Seconds of a case, warm-up included, from that with fewer steps."""
        n_calls = 1 if method == "recursion" else 2
        for n in reversed([n for n in self.sizes[problem] if n < n_steps]):
            known = self.results[problem, n, library, method]
            # one that was stopped has taken at least that long
            seconds = known.get("warm", known.get("stopped"))
            if seconds is not None:
                return n_calls * seconds * n_steps / n
        return 0.0

    def record(self, bandwidth):
        """Return everything as one dictionary."""
        keys = ("problem", "n_steps", "library", "method")
        return {
            "date": datetime.date.today().isoformat(),
            "cores": n_cores(),
            "versions": {
                "Python": platform.python_version(),
                "NumPy": np.__version__,
                "SciPy": scipy.__version__,
            },
            "libraries": {name: self.about(name) for name in ("numpy", "cupy", *_JAX)},
            "cases": [
                dict(zip(keys, key, strict=True)) | result
                for key, result in self.results.items()
            ],
            "scan_bandwidth": bandwidth,
        }


_JAX = ("jax-gpu", "jax-cpu")


def n_cores():
    """Return how many cores the processes may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def applies(method, problem, n_steps):
    """Whether a method is measured on a case."""
    if method == "recursion":
        return n_steps <= LARGEST_REFERENCE
    return problem in EXPLICIT or not method.startswith("parareal")


def scan_bandwidth(about, folder, seconds):
    """Return the record of `benchmarks.scan_bandwidth`, or why there is none."""
    if "not run" in about:
        return {"not run": about["not run"]}
    if seconds < LEAST_SECONDS:
        return {"not run": NO_TIME}
    path = Path(folder) / "bandwidth.json"
    command = [sys.executable, "-m", "benchmarks.scan_bandwidth", "--json", str(path)]
    try:
        subprocess.run(
            command, cwd=ROOT, timeout=min(seconds, BANDWIDTH_SECONDS), check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        if not path.exists():
            return {"not run": str(error)}
    with open(path, encoding="utf-8") as file:  # written row by row
        return json.load(file)


def heading(library, method):
    """Return the heading of a row."""
    return f"{HEADINGS.get(method, method)}, {HEADINGS[library]}"


def milliseconds(seconds):
    """Return three digits, or all before the point."""
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 999.5 else f"{ms:.3g}"


def cell(result):
    """Return the text of a result."""
    if result is None:
        return ""
    for outcome in ("failed", "not run"):
        if outcome in result:
            sentence = result[outcome].partition(". ")[0].rstrip(".")
            return f"{outcome}: {sentence}"
    warm, cold = (milliseconds(result[key]) for key in ("warm", "cold"))
    error = "reference" if result["error"] is None else f"{result['error']:.0e}"
    return f"{warm} / {cold} ({error})"


def markdown_row(cells):
    return f"| {' | '.join(cells)} |"


def markdown_table(record, problem):
    """Return the lines of a problem's table: methods and numbers of steps."""
    cases = [case for case in record["cases"] if case["problem"] == problem]
    results = {(c["library"], c["method"], c["n_steps"]): c for c in cases}
    sizes = sorted({case["n_steps"] for case in cases})
    lines = [
        markdown_row([problem, *(f"N = {n}" for n in sizes)]),
        markdown_row(["---", *("---" for _ in sizes)]),
    ]
    for library, about in record["libraries"].items():
        methods = [c["method"] for c in cases if c["library"] == library]
        for method in dict.fromkeys(methods):
            # one that is not there takes one word, not its reason in every cell
            cells = [
                "not run"
                if "not run" in about
                else cell(results.get((library, method, n)))
                for n in sizes
            ]
            lines.append(markdown_row([heading(library, method), *cells]))
    return lines


def markdown_bandwidth(bandwidth):
    """Return the lines of the table of the scan's bandwidth."""
    if "not run" in bandwidth:
        return [f"Not run: {bandwidth['not run']}."]
    names = [name for name in bandwidth["rows"][0] if name != "plans"]
    lines = [markdown_row(names), markdown_row("---:" for _ in names)]
    for row in bandwidth["rows"]:
        values = (row[name] for name in names)
        lines.append(
            markdown_row(f"{v:.3g}" if isinstance(v, float) else f"{v}" for v in values)
        )
    return lines


def markdown(record):
    """Return the record as text with tables."""
    versions = [f"{name} {version}" for name, version in record["versions"].items()]
    lines = [
        "# parivp and JAX on the paper's experiments",
        "",
        f"Printed by `{record['command']}` on {record['date']}; {', '.join(versions)}; "
        f"cores of the CPU: {record['cores']}.",
        "",
    ]
    for library, about in record["libraries"].items():
        where = HEADINGS[library]
        if "not run" in about:
            lines.append(f"- {where}: not run: {about['not run']}.")
        else:
            lines.append(f"- {where}: {about['version']}, {about['device']}.")
    lines += ["", "Milliseconds: warm / cold (error)."]
    for problem in dict.fromkeys(case["problem"] for case in record["cases"]):
        lines += ["", *markdown_table(record, problem)]
    bandwidth = record["scan_bandwidth"]
    lines += ["", "## Bandwidth of the scan", "", *markdown_bandwidth(bandwidth)]
    return "\n".join(lines) + "\n"


def show(key, result):
    """Print a case as it is measured."""
    problem, n_steps, library, method = key
    n = f"{result['iterations']:4} iterations" if result.get("iterations") else ""
    where = f"{problem:12} {n_steps:9}  {heading(library, method):34}"
    print(f"{where} {cell(result):28} {n}", flush=True)


def chosen_sizes(args, parser):
    """Return the numbers of steps of each problem that is asked for."""
    unknown = set(args.problems) - set(SIZES)
    if unknown:
        parser.error(f"unknown problems {sorted(unknown)}; known: {list(SIZES)}")
    sizes = {problem: args.sizes or SIZES[problem] for problem in args.problems}
    return {
        problem: sorted(n for n in ns if n <= args.max_steps)
        for problem, ns in sizes.items()
    }


def parse(argv):
    """Return the arguments and the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=7.5, help="time of all (%(default)s)")
    add("--case-seconds", type=float, default=20.0, help="of one case (%(default)s)")
    add("--problems", nargs="+", default=list(SIZES), help="default: all five")
    add("--sizes", nargs="+", type=int, help="numbers of steps; default: the paper's")
    add("--max-steps", type=float, default=np.inf, help="leave out more steps")
    add("--libraries", nargs="+", default=list(_LIBRARIES), choices=_LIBRARIES)
    add("--json", type=Path, default=RECORDS / "gpu.json", help="default: %(default)s")
    add("--markdown", type=Path, default=RECORDS / "gpu.md", help="%(default)s")
    return parser.parse_args(argv), parser


_LIBRARIES = ("numpy", "cupy", *_JAX)


def main(argv=None):
    args, parser = parse(argv)
    sizes = chosen_sizes(args, parser)
    with tempfile.TemporaryDirectory() as folder:
        experiments = Experiments(
            sizes, args.libraries, args.minutes, args.case_seconds, folder
        )
        for library in _LIBRARIES:
            print(f"{HEADINGS[library]}: {experiments.about(library)}")
        print("milliseconds: warm / cold (error)", flush=True)
        bandwidth = experiments.run(show)
    arguments = sys.argv[1:] if argv is None else argv
    record = {"command": " ".join(["python -m benchmarks.gpu", *arguments])}
    record |= experiments.record(bandwidth)
    args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.markdown.write_text(markdown(record), encoding="utf-8")
    print(f"written: {args.json}, {args.markdown}")


if __name__ == "__main__":
    main()
