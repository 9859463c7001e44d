"""What a newcomer runs first: the demo, the examples, the benchmarks."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import parivp
from parivp import __main__ as demo
from parivp._problems import PROBLEMS

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^  (\w+) +(\S+) +(\d+\.\d+) +(\d+) +(\d+|-)$", re.MULTILINE)


def run_demo(capsys, *argv):
    """Rows of the table by method, and all that was printed."""
    demo.main(list(argv))
    printed = capsys.readouterr().out
    rows = {method: rest for method, *rest in ROW.findall(printed)}
    return rows, printed


def test_default_is_the_papers_six_problems():
    chosen = demo.build_parser().parse_args([]).problems
    assert set(chosen) == {p.name for p in PROBLEMS.values() if "paper" in p.tags}


def test_own_methods_are_found():
    assert {"ScanNewton", "ScanNewtonImplicit"} <= set(demo.own_methods())


@pytest.mark.parametrize("name", ["logistic", "van_der_pol", "cart_pole", "parode_toy"])
def test_every_own_method_solves_the_nonstiff_problems(capsys, name):
    rows, _ = run_demo(capsys, "--problems", name, "--rtol", "1e-7")
    assert set(rows) == {*demo.own_methods(), "RK45", "DOP853"}
    for method in demo.own_methods():
        error, milliseconds, nsteps, nit = rows[method]
        assert float(error) < 1e-5
        assert float(milliseconds) > 0
        assert int(nsteps) > 0
        assert int(nit) > 0
    assert rows["RK45"][3] == rows["DOP853"][3] == "-"


@pytest.mark.parametrize("name", ["dahlquist", "robertson"])
def test_stiff_problems_are_solved_by_implicit_methods(capsys, name):
    rows, printed = run_demo(capsys, "--problems", name, "--timeout", "20")
    assert list(rows) == ["ScanNewtonImplicit", "Radau", "BDF", "LSODA"]
    assert float(rows["ScanNewtonImplicit"][0]) < 1e-6
    assert float(rows["Radau"][0]) < 1e-6
    assert int(rows["ScanNewtonImplicit"][3]) > 0
    assert f"{name}: stiff" in printed


def test_smooth_problems_are_solved_by_gauss_legendre(capsys):
    problem = PROBLEMS["van_der_pol"]
    rows, printed = run_demo(capsys, "--problems", "van_der_pol")
    expected = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        method="ScanNewtonImplicit",
        tableau="GaussLegendre12",
        rtol=1e-6,
        atol=1e-9,
    )
    assert int(rows["ScanNewtonImplicit"][2]) == expected.nsteps
    assert "tableau GaussLegendre12" in printed


def test_lines_fit_a_terminal(capsys):
    _, printed = run_demo(capsys, "--problems", "robertson", "logistic")
    assert max(map(len, printed.splitlines())) <= 80


def test_failure_is_printed_with_status_and_message(capsys):
    rows, printed = run_demo(capsys, "--problems", "robertson", "--timeout", "1e-9")
    assert rows["ScanNewtonImplicit"][0] == "-"
    assert rows["Radau"][0] != "-"
    assert re.search(r"-1: The time allowed\s+by\s+`timeout`\s+was\s+over", printed)


def test_residual_histories_are_the_papers(capsys):
    # dt = 1e-2, from ones: read off figure 2 of the paper by two digits.
    _, printed = run_demo(capsys, "--problems", "logistic")
    line = next(s for s in printed.splitlines()[-4:] if s.startswith("  logistic"))
    norms = [float(word) for word in line.split()[1:]]
    np.testing.assert_allclose(norms[:5], [0.9, 8e-3, 1e-3, 3e-4, 2e-5], rtol=0.1)
    assert norms[-1] < 1e-15


def test_stiff_residual_histories_are_the_papers(capsys):
    # dt = 1e-1, from zeros: one iteration for the linear problem; for robertson a
    # rise to 3e6, and read off figure 4 of the paper what came at the end.
    _, printed = run_demo(capsys, "--problems", "dahlquist", "robertson")
    table = printed[printed.index("Largest residual") :].replace("\n" + " " * 16, " ")
    histories = {
        name: [float(word) for word in words.split()]
        for name, words in re.findall(r"^  (\w+) +(\S.*)$", table, re.MULTILINE)
    }
    first, second = histories["dahlquist"]
    assert first == 1.0
    assert second < 1e-15
    norms = histories["robertson"]
    assert norms[1] == max(norms) == pytest.approx(3e6, rel=0.2)
    assert norms[21] == pytest.approx(1.3e-6, rel=0.5)
    assert norms[23] < 1e-15


def test_histories_are_left_out_where_no_problem_has_one(capsys):
    _, printed = run_demo(capsys, "--problems", "parode_toy")
    assert "Newton iteration" not in printed


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as stop:
        demo.main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--rtol", "--problems", "--timeout", "--plot"):
        assert option in printed


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--rtol", "0"], "expected a positive number, got 0"),
        (["--rtol", "tight"], "tight"),
        (["--timeout", "nan"], "expected a positive number, got nan"),
        (["--problems", "pendulum"], "pendulum"),
    ],
)
def test_wrong_arguments_are_explained(capsys, argv, complaint):
    with pytest.raises(SystemExit) as stop:
        demo.main(argv)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_plot_without_matplotlib_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stop:
        demo.main(["--plot", "out.png"])
    assert 'pip install "parivp[plot]"' in stop.value.code
    assert capsys.readouterr().out == ""  # before anything is solved


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("nowhere/out.png", "no directory"), ("out.tiffany", "got .*out.tiffany")],
)
def test_plot_that_cannot_be_saved_is_refused_at_once(
    tmp_path, capsys, name, complaint
):
    pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit, match=complaint):
        demo.main(["--plot", str(tmp_path / name)])
    assert capsys.readouterr().out == ""


def test_plot_is_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "out.png"
    run_demo(
        capsys,
        "--problems",
        "logistic",
        "robertson",
        "--timeout",
        "20",
        "--plot",
        str(path),
    )
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "script", sorted(p.name for p in (ROOT / "examples").glob("*.py"))
)
def test_example_runs(script, capsys):
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    assert capsys.readouterr().out


def test_there_are_examples():
    assert list((ROOT / "examples").glob("*.py"))


class TestWorkPrecision:
    """The arithmetic behind the speed that the benchmark reports."""

    @pytest.fixture
    def bench(self, monkeypatch):
        monkeypatch.syspath_prepend(str(ROOT))
        from benchmarks import work_precision

        return work_precision

    @staticmethod
    def curve(bench, *pairs):
        return [
            bench.Point(rtol=1e-3, error=error, times=[seconds])
            for error, seconds in pairs
        ]

    def test_interpolates_in_logarithms(self, bench):
        points = self.curve(bench, (1e-2, 1.0), (1e-4, 4.0))
        assert bench.time_to_reach(points, 1e-3) == pytest.approx(2.0)
        assert bench.time_to_reach(points, 1e-4) == pytest.approx(4.0)

    def test_looser_than_the_curve_costs_the_cheapest_run(self, bench):
        points = self.curve(bench, (1e-6, 2.0), (1e-8, 3.0))
        assert bench.time_to_reach(points, 1e-3) == pytest.approx(2.0)

    def test_tighter_than_the_curve_is_never_reached(self, bench):
        points = self.curve(bench, (1e-6, 2.0), (1e-8, 3.0))
        assert bench.time_to_reach(points, 1e-9) == np.inf

    def test_a_beaten_run_does_not_count(self, bench):
        # The middle run is slower than the last and less accurate.
        points = self.curve(bench, (1e-2, 1.0), (1e-3, 9.0), (1e-4, 4.0))
        errors, times = bench.hull(points)
        assert errors.tolist() == [1e-2, 1e-4]
        assert times.tolist() == [1.0, 4.0]

    def test_failed_runs_do_not_count(self, bench):
        points = self.curve(bench, (1e-4, 1.0))
        points.append(bench.Point(rtol=1e-6, message="-1: failed"))
        assert bench.time_to_reach(points, 1e-4) == pytest.approx(1.0)
        assert bench.time_to_reach(points, 1e-6) == np.inf

    def test_ratio_is_against_the_better_rival(self, bench):
        curves = {
            "RK45": self.curve(bench, (1e-6, 8.0)),
            "DOP853": self.curve(bench, (1e-6, 6.0)),
            "ScanNewton": self.curve(bench, (1e-7, 3.0)),
        }
        found = bench.ratios(curves, bench.EXPLICIT)
        assert set(found) == {t for t in bench.TARGETS if t >= 1e-6}
        assert found[1e-6] == pytest.approx(2.0)

    def test_ratio_at_the_error_of_the_rivals_loosest_run(self, bench, capsys):
        curves = {
            "Radau": self.curve(bench, (1e-5, 8.0), (1e-8, 99.0)),
            "ScanNewtonImplicit": self.curve(bench, (1e-4, 1.0), (1e-6, 4.0)),
        }
        bench.print_loose("ScanNewtonImplicit", "Radau", {"made_up": curves})
        # at error 1e-5, half way between 1 and 4 in logarithms: 2 s
        assert re.search(r"^made_up +4\.00 ", capsys.readouterr().out, re.MULTILINE)

    def test_slow_methods_are_not_run_at_tighter_tolerances(self, bench, monkeypatch):
        monkeypatch.setattr(bench, "SLOW_SECONDS", 0.0)
        points = bench.first_runs(PROBLEMS["logistic"], {"method": "RK45"})
        assert [point.rtol for point in points] == list(bench.RTOLS)
        assert [point.solved for point in points] == [True] + [False] * 10

    @pytest.mark.parametrize("problem", ["heat", "brusselator_pde"])
    @pytest.mark.parametrize("jac", [False, True])
    def test_every_stiff_method_is_told_the_structure(self, bench, problem, jac):
        problem = PROBLEMS[problem]
        args = bench.parse(["--stiff"] + ["--jac"] * jac)
        assert args.methods == ["Radau", "BDF", "LSODA", "ScanNewtonImplicit"]
        assert all(PROBLEMS[name].stiff for name in args.problems)
        options = {m: bench.find_options(problem, m, args) for m in args.methods}
        width = 1 if problem.name == "heat" else 2
        assert options["LSODA"] == {"method": "LSODA", "lband": width, "uband": width}
        for method in ("Radau", "BDF", "ScanNewtonImplicit"):
            name, value = (
                ("jac", problem.jac) if jac else ("jac_sparsity", problem.jac_sparsity)
            )
            assert options[method][name] is value

    def test_gauss_is_a_further_column(self, bench):
        args = bench.parse(["--gauss"])
        assert args.methods == ["RK45", "DOP853", "ScanNewton", "GaussLegendre12"]
        options = bench.find_options(PROBLEMS["logistic"], "GaussLegendre12", args)
        assert options["method"] == "ScanNewtonImplicit"
        assert options["tableau"] == "GaussLegendre12"

    def test_memory_of_a_large_problem(self, bench, capsys):
        problem = PROBLEMS["heat"]
        options = {"method": "BDF", "jac_sparsity": problem.jac_sparsity}
        bench.print_memory(problem, {"BDF": options})
        printed = capsys.readouterr().out
        assert "2000000 bytes" in printed
        per_step = float(re.search(r"(\d+) bytes per step", printed)[1])
        assert 500 * 8 < per_step < 2_000_000  # a state, and less than a matrix

    def test_command_prints_its_tables(self, bench, monkeypatch, capsys):
        monkeypatch.setattr(bench, "SECONDS_PER_POINT", 0.0)
        bench.main(["--problems", "logistic"])
        printed = capsys.readouterr().out
        assert "geometric mean over 1 problems" in printed
        assert "failed" not in printed

    def test_unknown_problem_is_named(self, bench, capsys):
        with pytest.raises(SystemExit):
            bench.main(["--problems", "pendulum"])
        assert "pendulum" in capsys.readouterr().err


def test_fixed_step_benchmark_agrees_with_its_recursion(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import fixed_step

    monkeypatch.setattr(fixed_step, "SECONDS_PER_ROW", 0.0)
    monkeypatch.setattr(fixed_step, "SEQUENTIAL_STEPS", 1000)
    fixed_step.main(["--problems", "cart_pole", "--sizes", "1000"])
    printed = capsys.readouterr().out
    difference = float(re.search(r"difference (\S+)", printed)[1])
    assert difference < 1e-11
    assert "failed" not in printed


def test_reference_computation_meets_the_registry(monkeypatch):
    mp = pytest.importorskip("mpmath").mp
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import references

    problem = PROBLEMS["parode_toy"]
    with mp.workdps(references.DIGITS):
        end = references.integrate(
            references.parode_toy, problem.t_span, problem.y0, mp.mpf("1e-20"), 8
        )
    assert problem.error([float(value) for value in end]) < 1e-15


def test_stiff_reference_computation_meets_the_registry(monkeypatch):
    """Fewer stages and steps than the command takes, on the shorter problem."""
    mp = pytest.importorskip("mpmath").mp
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import references

    problem = PROBLEMS["robertson"]
    with mp.workdps(references.DIGITS):
        end = references.integrate_stiff("robertson", 60)
    assert problem.error([float(value) for value in end]) < 1e-14
