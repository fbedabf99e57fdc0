"""The tables of `docs/architecture.md` are true: who may import whom, and who may import which library."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "docs" / "architecture.md"
OURS = ("service", "schemas")
NAME = re.compile(r"`([\w.]+)`")
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts)
NAMED = re.compile(r"`((?:service|schemas|scripts|tests|docs)/[\w/.]*)(?:::(\w+))?`")


def find_modules() -> dict[str, Path]:
    modules = {}
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = find_modules()


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@functools.cache
def imported_by(path: Path) -> set[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, with the line."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(name.name, node.lineno) for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the arrow"
            names = {f"{node.module}.{name.name}" for name in node.names}
            # `from service.web import path` is an arrow to the module, `from service.web.path import x` to its parent.
            found |= {(name if name in MODULES else node.module, node.lineno) for name in names}
    return found


def read_table(heading: str) -> list[tuple[list[str], list[str]]]:
    """The rows of the table whose head begins with these two cells, as the names in each cell."""
    lines = TABLES.read_text("utf-8").splitlines()
    assert heading in lines, f"{TABLES.name} has no table `{heading}`"
    rows = []
    for line in lines[lines.index(heading) + 2 :]:
        if not line.startswith("|"):
            break
        left, right = line.strip("|").split("|")[:2]
        rows.append((NAME.findall(left), NAME.findall(right)))
    assert rows
    return rows


@pytest.fixture(scope="module")
def arrows():
    return read_table("| package | may import |")


@pytest.fixture(scope="module")
def libraries():
    return read_table("| library | imported only by |")


def row_of(module, arrows):
    """The row that speaks of a module: the one with the longest name that it is within."""
    named = [(len(package), row) for row in arrows for package in row[0] if is_within(module, package)]
    assert named, f"{module} stands in no row of the table of arrows"
    return max(named, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_table_lets_it(module, arrows):
    if module in OURS and not MODULES[module].read_text("utf-8").strip():
        return
    packages, allowed = row_of(module, arrows)
    for imported, line in imported_by(MODULES[module]):
        if imported == "service":  # the version, which everybody may read
            continue
        if imported.split(".")[0] in OURS and row_of(imported, arrows)[0] is not packages:
            assert any(is_within(imported, package) for package in allowed), (
                f"{MODULES[module].relative_to(ROOT)}:{line} imports {imported}, an arrow that the table does not have"
            )


def test_every_file_and_function_that_the_document_names_is_there():
    named = NAMED.findall(TABLES.read_text("utf-8"))
    missing = []
    for file, name in named:
        path = ROOT / file
        text = path.read_text("utf-8") if path.is_file() else ""
        if not path.exists() or (name and not re.search(rf"\b(?:def|class) {name}\b", text)):
            missing.append(f"{file}::{name}")
    assert len(named) > 50
    assert missing == []


def test_the_package_itself_holds_the_version_and_imports_nothing():
    assert not imported_by(MODULES["service"])


def test_the_tables_speak_only_of_what_is_there(arrows, libraries):
    named = {name for packages, allowed in arrows for name in packages + allowed}
    named |= {name for _, importers in libraries for name in importers}
    assert named - MODULES.keys() == set()


def test_a_library_is_imported_where_the_table_says_and_nowhere_else(libraries):
    for names, importers in libraries:
        for module, path in MODULES.items():
            for imported, line in imported_by(path):
                if any(is_within(imported, name) for name in names):
                    assert any(is_within(module, importer) for importer in importers), (
                        f"{path.relative_to(ROOT)}:{line} imports {imported}"
                    )


def test_no_two_modules_import_each_other_in_a_circle():
    imports = {module: {each for each, _ in imported_by(path)} & MODULES.keys() for module, path in MODULES.items()}
    # Who imports nothing that is left cannot stand in a circle; what remains at the end does, or waits for one.
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        imports = {module: imported for module, imported in imports.items() if module not in free}
    assert not imports


@pytest.mark.parametrize(
    "library", ["aiohttp", "motor", "pymongo", "gridfs", "jwt", "marshmallow", "prometheus_client", "pydicom", "PIL"]
)
def test_each_of_these_libraries_has_its_room(library, libraries):
    assert any(library in names for names, _ in libraries)


@pytest.mark.parametrize("module", [module for module in MODULES if is_within(module, "service.dicom")])
def test_dicom_never_awaits(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        waits = isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        assert not waits, f"{MODULES[module].relative_to(ROOT)}:{node.lineno} awaits"


def test_only_the_settings_and_what_starts_processes_read_the_environment():
    readers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    starters = {"service.launch.supervisor", "service.workers.handle", "service.storage.local.database"}
    assert readers <= {"service.__main__", "service.settings"} | starters


def test_no_test_imports_another_test_or_a_conftest():
    """What several tests need stands in a module that is named after it. A conftest may pass on another's fixtures."""
    wrong = []
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            module = getattr(node, "module", None) or ""
            named = [f"{module}.{name.name}".lstrip(".").split(".") for name in node.names]
            parts = {part for name in named if name[0] == "tests" for part in name}
            of_tests = any(part.startswith("test_") for part in parts)
            if of_tests or (path.name != "conftest.py" and "conftest" in parts):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(TESTS) > 100
    assert wrong == []


def test_no_module_is_a_drawer_for_everything():
    names = {part for module in MODULES for part in module.split(".")}
    assert not names & {"utils", "util", "helpers", "common", "manager", "base", "misc"}


# --- what a caller may see

EVERYTHING_OF_A_PATIENT = {
    "service.web.middleware.find_caller": "the one place where a caller gets it",
    "service.usecases.dicomweb.store.store_part": "what was stored just now",
    "service.usecases.accepting._accept": "what came by an inbox, which its patient accepts",
    "service.usecases.ingest._find_present": "whether the bytes that come are there already",
    "service.usecases.recovery._finish_extraction": "extracts what is pending",
    "service.usecases.unpacking.read_person": "who the file is of that was stored just now",
    "service.usecases.sharing.visible_by": "what a share lets see, which is a part",
}
"""The functions of `service.web` and `service.usecases` that may see everything of a patient, whoever asks; and why."""


def functions_that_call(path: Path, name: str) -> set[str]:
    """The functions of a module that call something of this name, themselves or within what they define."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and isinstance(inner.func, (ast.Name, ast.Attribute)):
                called = inner.func.id if isinstance(inner.func, ast.Name) else inner.func.attr
                if called == name:
                    found.add(getattr(node, "name", "the module"))
    return found


def test_only_who_must_sees_everything_of_a_patient():
    """A route cannot forget what its caller may see: it is given it, and nobody on the way makes another."""
    found = {
        f"{module}.{function}"
        for module, path in MODULES.items()
        if is_within(module, "service.web") or is_within(module, "service.usecases")
        for function in functions_that_call(path, "Visible")
    }
    assert found == EVERYTHING_OF_A_PATIENT.keys()
