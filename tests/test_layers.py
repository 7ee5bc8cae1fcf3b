"""The order of the house: imports point down only, and none of them is TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vjax

PACKAGE = Path(vjax.__file__).parent
FLOORS = [
    {"errors"},
    {"spec"},
    {"typed"},
    {"runtime", "json_files", "ops", "mesh", "text"},
    {"layers", "weights", "html"},
    {"models", "data"},
    {"evaluation"},
    {"training"},
    {"config"},
    {"config_file", "preprocessing"},
    {"workdirs"},
    {"experiment"},
    {"trained"},
    {"first_state", "from_weights", "probed", "step_plan", "export"},
    {"run"},
    {"cross_validation"},
    {"compare"},
    {"report"},
    {"cli"},
    {"start"},
    {"__main__"},
    {"__init__"},
]
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
# A wheel has the configs inside the package; they are no part of the house, and neither is the program of an export.
FILES = {
    str(path.relative_to(PACKAGE)): path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"configs", "program"} & set(path.relative_to(PACKAGE).parts)
}


def imported_parts(source):
    """The parts of vjax that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "vjax imports by full names"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for package, part, *_ in (f"{name}.__init__".split(".") for name in names):
            if package == "vjax":
                yield part


def wrong_imports(file, source):
    here = Path(file).parts[0].removesuffix(".py")
    return [part for part in imported_parts(source) if part != here and FLOOR[part] >= FLOOR[here]]


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down_only(file):
    assert not wrong_imports(file, FILES[file])


def test_nothing_but_the_front_doors_imports_run():
    importers = {file for file, source in FILES.items() if "run" in imported_parts(source)}
    assert importers <= {"__init__.py", "cli/train.py", "cross_validation.py"}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("layers/conv.py", "from vjax.data import sources"),
        ("data/sources.py", "import vjax.models.fusion"),
        ("ops/frames.py", "from vjax import mesh as meshes"),
        ("config.py", "def late():\n    from vjax import workdirs"),
        ("training/loop.py", "from vjax import run"),
        ("run.py", "from vjax import compare"),
        ("spec.py", "import vjax"),
    ],
)
def test_an_import_that_points_up_or_sideways_is_found(file, source):
    assert wrong_imports(file, source)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


IMPORT_ALL = """
import importlib, pkgutil, sys

class Watch:
    # It notes who asks for TensorFlow, installed or not.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            asked.append(name)

asked = []
sys.meta_path.insert(0, Watch())
import vjax
names = [module.name for module in pkgutil.walk_packages(vjax.__path__, "vjax.", onerror=print)]
for name in names:
    importlib.import_module(name)
assert not asked, asked
print(*names)
"""


def test_no_module_of_vjax_imports_tensorflow():
    # The files of a package are its modules, but for its own __init__.
    dotted = {"vjax." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in FILES}
    assert set(run_python(IMPORT_ALL)) == dotted - {"vjax.__init__"}


PUBLIC_NAMES = """
import vjax
for name in vjax.__all__:
    assert getattr(vjax, name) is not None, name
print(*vjax.__all__)
"""


def test_the_public_names_are_sorted_and_every_one_resolves():
    # As ruff sorts them: constants, classes, functions.
    names = run_python(PUBLIC_NAMES)
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name.islower(), name))
