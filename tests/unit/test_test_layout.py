"""The tests' own layout: they mirror the package, and share code through tests/support alone."""

import ast
from pathlib import Path

import hybrid_dist

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = Path(hybrid_dist.__file__).resolve().parent


def test_every_package_has_unit_tests() -> None:
    packages = [file.parent.relative_to(PACKAGE) for file in PACKAGE.rglob("__init__.py")]
    assert len(packages) > 10
    assert [name for name in packages if not [*(TESTS / "unit" / name).glob("test_*.py")]] == []


def test_no_test_module_imports_another() -> None:
    imports = []
    for file in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.startswith("tests.") and ".test_" in name:
                    imports.append(f"{file.relative_to(TESTS)} imports {name}")
    assert imports == []
