"""SciPy's own tests of `solve_ivp`, with the methods of parivp put in.

The installed SciPy's ``test_ivp.py`` is parsed.  For each target in `TARGETS`
every list of SciPy's methods in it becomes a list of the target alone, its
``solve_ivp`` becomes `parivp.solve_ivp` with the target as the default method,
and what `LEFT_OUT` names is taken away; `ADAPTED` names options that are added.
The target `PASS_THROUGH` keeps the lists as they are: SciPy's own methods, called
through `parivp.solve_ivp`.
"""

import ast
import importlib.util
import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import scipy.integrate

import parivp

PASS_THROUGH = "SciPy's methods"

# Methods of parivp to put in, each with the class of the same name.
INJECTED = ("ScanNewton", "ScanNewtonImplicit", "ParODE")
TARGETS = (*INJECTED, PASS_THROUGH)

SCIPY_METHODS = frozenset({"RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"})

INTERNAL = "tests an internal function of SciPy, not a solver"
STIFF = "a stiff problem, for implicit methods"
NFEV = "bounds nfev, which depends on the method; here it counts points"
NJEV = "bounds njev or nlu, which depend on the method; here they count points"


@dataclass(frozen=True)
class LeftOut:
    """A test of SciPy, or one statement of it, that does not run.

    Without `targets` it is left out for every method of parivp.  Statements
    are given as `ast.unparse` prints them.
    """

    test: str
    statement: str | None
    reason: str
    targets: tuple[str, ...] = INJECTED

    def __str__(self):
        return self.test if self.statement is None else f"{self.test}-{self.statement}"


LEFT_OUT = (
    LeftOut("test_num_jac", None, INTERNAL, TARGETS),
    LeftOut("test_num_jac_sparse", None, INTERNAL, TARGETS),
    LeftOut("test_inital_maxstep", None, INTERNAL, TARGETS),
    LeftOut("test_ConstantDenseOutput", None, INTERNAL, TARGETS),
    LeftOut("test_OdeSolution", None, INTERNAL, TARGETS),
    LeftOut("test_integration_sparse_difference", None, STIFF, ("ScanNewton",)),
    LeftOut("test_integration_stiff", None, STIFF, ("ScanNewton",)),
    LeftOut(
        "test_integration",
        "if method == 'DOP853':\n"
        "    assert_(res.nfev < 50)\n"
        "else:\n"
        "    assert_(res.nfev < 40)",
        NFEV,
    ),
    LeftOut(
        "test_integration",
        "if method in ['RK23', 'RK45', 'DOP853', 'LSODA']:\n"
        "    assert_equal(res.njev, 0)\n"
        "    assert_equal(res.nlu, 0)\n"
        "else:\n"
        "    assert_(0 < res.njev < 3)\n"
        "    assert_(0 < res.nlu < 10)",
        NJEV,
    ),
    LeftOut(
        "test_integration_complex",
        "if method == 'DOP853':\n"
        "    assert res.nfev < 35\n"
        "else:\n"
        "    assert res.nfev < 25",
        NFEV,
    ),
    LeftOut(
        "test_integration_complex",
        "if method == 'BDF':\n"
        "    assert_equal(res.njev, 1)\n"
        "    assert res.nlu < 6\n"
        "else:\n"
        "    assert res.njev == 0\n"
        "    assert res.nlu == 0",
        NJEV,
    ),
    LeftOut("test_integration_const_jac", "assert_(res.nfev < 100)", NFEV),
    LeftOut("test_integration_const_jac", "assert_(0 < res.nlu < 15)", NJEV),
    LeftOut("test_integration_stiff", "assert res.nfev < 5000", NFEV),
    LeftOut("test_integration_stiff", "assert res.njev < 200", NJEV),
)


@dataclass(frozen=True)
class Adapted:
    """A test of SciPy that runs with other options, its assertions untouched.

    `misses` names the method of SciPy that fails it too, with the options as
    they are: what is asserted holds for one method, not for every correct one.
    """

    test: str
    options: dict
    reason: str
    misses: str
    targets: tuple[str, ...] = INJECTED


ADAPTED = (
    Adapted(
        "test_duplicate_timestamps",
        {"tableau": "RK45"},
        "extrapolates 1500 steps beyond the solution, with the default RK45 in mind",
        "DOP853",
        ("ScanNewton",),
    ),
    Adapted(
        "test_duplicate_timestamps",
        {"tableau": "RadauIIA3"},
        "extrapolates 1500 steps beyond the solution, with the default RK45 in mind",
        "DOP853",
        ("ScanNewtonImplicit",),
    ),
    Adapted(
        "test_duplicate_timestamps",
        {"n_basis": (2, 3)},
        "extrapolates 1500 steps beyond the solution, with the default RK45 in mind",
        "DOP853",
        ("ParODE",),
    ),
    Adapted(
        "test_array_rtol",
        {"tableau": "RK45"},
        "compares two errors that are both 100 times below atol, where chance decides",
        "DOP853",
        ("ScanNewton",),
    ),
    Adapted(
        "test_array_rtol",
        {"n_basis": (2, 4)},
        "compares two errors that are both 100 times below atol, where chance decides",
        "DOP853",
        ("ParODE",),
    ),
    Adapted(
        "test_args",
        {"rtol": 1e-11, "atol": 1e-14},
        "asserts an accuracy that Radau exceeds at rtol=1e-10 and others miss",
        "DOP853",
        ("ScanNewton",),
    ),
)

# How many lists of methods SciPy's tests hold that are replaced: fewer mean
# that a test no longer runs with the methods it should run with.
LISTS = {
    "test_integration": 1,
    "test_integration_complex": 1,
    "test_integration_const_jac": 1,
    "test_events": 2,
    "test_max_step": 1,
    "test_first_step": 1,
    "test_t_eval_early_event": 1,
    "test_event_dense_output_LSODA": 1,
    "test_no_integration": 1,
    "test_no_integration_class": 1,
    "test_empty": 2,
    "test_classes": 1,
    "test_args": 1,
    "test_integration_zero_rhs": 1,
    "test_zero_interval": 1,
    "test_tbound_respected_small_interval": 1,
    "test_tbound_respected_larger_interval": 1,
    "test_tbound_respected_oscillator": 1,
}


@cache
def scipy_source():
    """Path and text of the installed SciPy's test file."""
    spec = importlib.util.find_spec("scipy.integrate._ivp.tests.test_ivp")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The installed SciPy comes without its tests; the wheel on PyPI has "
            "them in scipy/integrate/_ivp/tests/test_ivp.py."
        )
    return spec.origin, Path(spec.origin).read_text(encoding="utf-8")


def is_test(node):
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def scipy_tests():
    """Return {name: function definition} of SciPy's tests."""
    tree = ast.parse(scipy_source()[1])
    return {node.name: node for node in tree.body if is_test(node)}


class LeaveOut(ast.NodeTransformer):
    """Take statements away, given as `ast.unparse` prints them."""

    def __init__(self, statements):
        self.statements = statements
        self.found = Counter()

    def visit(self, node):
        if isinstance(node, ast.stmt) and ast.unparse(node) in self.statements:
            self.found[ast.unparse(node)] += 1
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


class Inject(ast.NodeTransformer):
    """Replace lists of SciPy's methods, or one as ``method=``, by the target."""

    def __init__(self, target):
        self.target = target
        self.n_lists = 0

    def visit_List(self, node):  # noqa: N802 (the name ast gives it)
        kinds = {type(element) for element in node.elts}
        if kinds == {ast.Constant}:
            named = {element.value for element in node.elts} <= SCIPY_METHODS
            new = ast.Constant(self.target)
        elif kinds == {ast.Name}:
            named = {element.id for element in node.elts} <= SCIPY_METHODS
            new = ast.Name(self.target, ast.Load())
        else:
            return self.generic_visit(node)
        if not named:
            return node
        self.n_lists += 1
        replaced = ast.List([new], node.ctx)
        return ast.fix_missing_locations(ast.copy_location(replaced, node))

    def visit_keyword(self, node):
        value = node.value
        if (
            node.arg == "method"
            and isinstance(value, ast.Constant)
            and value.value in SCIPY_METHODS
        ):
            self.n_lists += 1
            node.value = ast.copy_location(ast.Constant(self.target), value)
            return node
        return self.generic_visit(node)


class Suite:
    """SciPy's tests, made ready for one target."""

    def __init__(self, target):
        self.target = target
        self.n_lists = {}
        self.transformed = {}
        self.options = {}
        left_out = [entry for entry in LEFT_OUT if target in entry.targets]
        self.whole = {entry.test for entry in left_out if entry.statement is None}
        path, text = scipy_source()
        tree = ast.parse(text, filename=path)
        for node in tree.body:
            if is_test(node):
                gone = {e.statement for e in left_out if e.test == node.name}
                self.transform(node, gone - {None})
        self.namespace = {"__name__": "scipy_test_ivp", "__file__": path}
        exec(compile(tree, path, "exec"), self.namespace)
        self.namespace["solve_ivp"] = self.solve_ivp
        self.namespace.update({name: getattr(parivp, name) for name in INJECTED})

    def transform(self, node, statements):
        LeaveOut(statements).visit(node)
        self.transformed[node.name] = node
        if self.target != PASS_THROUGH:
            inject = Inject(self.target)
            inject.visit(node)
            self.n_lists[node.name] = inject.n_lists

    def solve_ivp(self, fun, t_span, y0, method=None, **options):
        if method is None:
            method = "RK45" if self.target == PASS_THROUGH else self.target
        return parivp.solve_ivp(fun, t_span, y0, method, **options | self.options)

    def run(self, name, kwargs):
        adapted = [e for e in ADAPTED if e.test == name and self.target in e.targets]
        self.options = adapted[0].options if adapted else {}
        self.namespace[name](**kwargs)

    def cases(self):
        """Yield name, keyword arguments and marks of every test that runs."""
        for name, function in self.namespace.items():
            if name.startswith("test_") and name not in self.whole:
                marks = getattr(function, "pytestmark", [])
                yield from self.expand(name, function, marks)

    def expand(self, name, function, marks):
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        fixed = {a: 1 for a in arguments if a == "num_parallel_threads"}
        axes = [m.args for m in marks if m.name == "parametrize"]
        others = [m for m in marks if m.name != "parametrize"]
        for values in itertools.product(*(axis[1] for axis in axes)):
            chosen = {axis[0]: v for axis, v in zip(axes, values, strict=True)}
            yield name, chosen | fixed, others


@cache
def suite(target):
    return Suite(target)


def collect():
    for target in TARGETS:
        for name, kwargs, marks in suite(target).cases():
            shown = [str(v) for k, v in kwargs.items() if k != "num_parallel_threads"]
            label = "-".join([name, *shown, target])
            yield pytest.param(target, name, kwargs, marks=marks, id=label)


@pytest.mark.parametrize(("target", "name", "kwargs"), list(collect()))
def test_scipy(target, name, kwargs):
    suite(target).run(name, kwargs)


@pytest.mark.parametrize("entry", ADAPTED, ids=lambda entry: entry.test)
def test_adapted_tests_are_too_narrow_for_scipy_as_well(entry):
    fresh = Suite(PASS_THROUGH)

    def solve_ivp(fun, t_span, y0, method=None, jac=None, **options):
        return scipy.integrate.solve_ivp(fun, t_span, y0, entry.misses, **options)

    fresh.namespace["solve_ivp"] = solve_ivp
    with pytest.raises(AssertionError):
        fresh.namespace[entry.test]()
    assert entry.reason


@pytest.mark.parametrize("entry", LEFT_OUT, ids=str)
def test_left_out_entry_still_exists(entry):
    tests = scipy_tests()
    assert entry.test in tests, "SciPy no longer has this test"
    if entry.statement is not None:
        leave_out = LeaveOut({entry.statement})
        leave_out.visit(tests[entry.test])
        assert leave_out.found[entry.statement] == 1
    assert entry.reason


@pytest.mark.parametrize("target", TARGETS)
def test_everything_else_runs(target):
    run = {name for name, _, _ in suite(target).cases()}
    left_out = {e.test for e in LEFT_OUT if e.statement is None and target in e.targets}
    assert run == set(scipy_tests()) - left_out


@pytest.mark.parametrize("target", INJECTED)
@pytest.mark.parametrize("test", LISTS)
def test_lists_of_methods_are_replaced(test, target):
    if test in suite(target).whole:
        pytest.skip("left out")
    assert suite(target).n_lists[test] >= LISTS[test]


@pytest.mark.parametrize("target", INJECTED)
def test_no_method_of_scipy_is_left(target):
    """What runs names a method of SciPy in comparisons only."""
    for name in set(scipy_tests()) - suite(target).whole:
        node = suite(target).transformed[name]
        compared = {
            id(inner)
            for outer in ast.walk(node)
            if isinstance(outer, ast.Compare)
            for inner in ast.walk(outer)
        }
        for inner in ast.walk(node):
            label = getattr(inner, "id", getattr(inner, "value", None))
            if isinstance(label, str) and label in SCIPY_METHODS:
                assert id(inner) in compared, f"{name}: {ast.unparse(inner)}"
