"""The rules of the code itself: layers, sizes, fences, and documents that name what exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wsiseg.cli import COMMANDS
from wsiseg.errors import CODES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wsiseg"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def functions(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(node: ast.FunctionDef) -> int:
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = first.end_lineno if documented else first.lineno - 1
    return node.end_lineno - start


def imported_names(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_layers_hold():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("torch", {"models", "predict", "train"}),
        ("segmentation_models_pytorch", {"models"}),
        ("openvino", {"predict"}),
        ("dask", {"stitch", "cohort", "results", "export"}),
        ("distributed", {"cohort"}),
        ("zarr", {"stitch", "export", "view", "results"}),
        ("geopandas", {"results", "export"}),
        ("spatialdata", {"export"}),
        ("click", {"cli"}),
        ("rich", {"cli"}),
        ("openslide", {"slides", "cli"}),
        ("tiffslide", {"slides"}),
        ("imagecodecs", {"slides"}),
    ],
)
def test_outside_packages_stay_behind_their_fence(package, allowed):
    users = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path, tree in TREES.items()
        if package in imported_names(tree)
    }
    assert users <= allowed


def test_modules_and_functions_stay_small():
    long_modules = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long_modules.items() if lines > 400} == {}
    bodies = {
        f"{path.relative_to(ROOT)}:{node.name}": body_lines(node)
        for path, tree in TREES.items()
        for node in functions(tree)
    }
    assert {name: lines for name, lines in bodies.items() if lines > 50} == {}


def test_every_module_says_what_it_is():
    undocumented = [str(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    assert undocumented == []


def test_nothing_unsafe_is_called():
    forbidden = {"torch.load", "torch.jit.load", "torch.hub", "pickle", "yaml.load", "joblib", "cloudpickle"}
    calls = re.compile(r"\b(torch\.load|torch\.jit\.load|torch\.hub|pickle\.loads?|yaml\.load|eval|exec)\(")
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not [
            hit for hit in calls.findall(text) if hit != "eval" or "eval(" in text.replace(".eval(", "")
        ], path
        assert not imported_names(TREES[path]) & forbidden, path
        assert "allow_pickle=True" not in text, path
        assert "to_zarr(" not in text, path


CHANGES_FILES = {
    "os": {"open", "rename", "renames", "replace", "remove", "unlink", "rmdir", "truncate", "link", "symlink"},
    "any": {
        "write_bytes", "write_text", "unlink", "rmdir", "rename", "touch", "symlink_to", "hardlink_to",
        "ParquetWriter", "create_group", "savefig", "save", "imwrite", "to_csv", "to_parquet", "write_table",
        "save_file", "TiffWriter", "GzipFile", "ZipFile", "memmap", "tofile", "dump", "write_arrow",
    },
}  # fmt: skip
IN_MEMORY, PARTIAL = "into a buffer", "a library's own writer, into a name of fsio's that its caller publishes"
WRITERS = {
    ("cli/__init__.py", "os.open"): "/dev/null, for output that nobody reads any more",
    ("cli/sample_slide.py", "tempfile.TemporaryDirectory"): "for pip, outside of any folder of the user's",
    ("cli/sample_slide.py", "ZipFile"): "reads what pip fetched",
    ("cohort/table.py", "write_table"): IN_MEMORY,
    ("export/flatgeobuf.py", "write_arrow"): PARTIAL,
    ("export/geojson.py", "GzipFile"): PARTIAL,
    ("export/geojson.py", "ZipFile"): PARTIAL,
    ("export/geojson.py", "open"): "an entry of the zip",
    ("export/ometiff.py", "TiffWriter"): PARTIAL,
    ("export/omezarr.py", "create_group"): PARTIAL,
    ("export/parquet.py", "ParquetWriter"): PARTIAL,
    ("slides/shared.py", "tempfile.TemporaryFile"): "memory that is shared with the reading process",
    ("train/checkpoint.py", "save_file"): PARTIAL,
    ("train/export.py", "save"): IN_MEMORY,
    ("train/failures.py", "savefig"): IN_MEMORY,
    ("train/figures.py", "savefig"): IN_MEMORY,
    ("train/loop.py", "save"): "of TrainingFolder, which writes through fsio",
    ("view/pictures.py", "save"): IN_MEMORY,
}
"""Every call outside fsio that could change a file, and why it may."""


def change_of_a_file(call: ast.Call) -> str:
    """Name the call if it may change a file; an opened file counts by its mode."""
    function = call.func
    name = getattr(function, "id", getattr(function, "attr", ""))
    owner = getattr(getattr(function, "value", None), "id", "")
    if owner in ("os", "shutil", "tempfile"):
        harmless = name not in CHANGES_FILES["os"] if owner == "os" else name == "disk_usage"
        return "" if harmless else f"{owner}.{name}"
    if owner == "fsio":
        return ""
    if name == "open":
        texts = [value.value for value in (*call.args, *(word.value for word in call.keywords)) if is_text(value)]
        return "open" if any(re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", text) for text in texts) else ""
    path_replaced = name == "replace" and owner and len(call.args) == 1 and not call.keywords
    return name if name in CHANGES_FILES["any"] or path_replaced else ""


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_files_are_written_in_one_place():
    """Whoever opens a file for writing, renames or removes does so through fsio, or stands in the list above."""
    found = {
        (path.relative_to(PACKAGE).as_posix(), change)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if path.name != "fsio.py" and isinstance(node, ast.Call) and (change := change_of_a_file(node))
    }
    assert found == set(WRITERS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open(p, 'w')", "open"),
        ("p.open(mode='ab')", "open"),
        ("open(p, 'rb')", ""),
        ("open(p)", ""),
        ("os.rename(a, b)", "os.rename"),
        ("shutil.rmtree(p)", "shutil.rmtree"),
        ("(a / b).write_text('x')", "write_text"),
        ("temporary.replace(final)", "replace"),
        ("name.replace('a', 'b')", ""),
        ("fsio.rename(a, b)", ""),
        ("np.save(p, x)", "save"),
    ],
)
def test_what_changes_a_file_is_recognised(text, found):
    assert change_of_a_file(ast.parse(text).body[0].value) == found


def test_help_and_import_load_nothing_heavy():
    heavy = ["torch", "dask", "distributed", "zarr", "openslide", "tiffslide", "numpy", "cv2"]
    code = (
        "import sys; import wsiseg; from wsiseg.cli import wsiseg;"
        "\ntry: wsiseg.main(['--help'], standalone_mode=False)"
        "\nexcept SystemExit: pass"
        f"\nprint([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")


def test_each_command_has_help_and_at_most_twelve_options():
    from importlib import import_module

    for name, target in COMMANDS.items():
        module, function = target.split(":")
        command = getattr(import_module(module), function)
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        assert command.help, name
        assert len(options) <= 12, name


def test_error_codes_are_documented_and_used():
    documented = set(re.findall(r"`(E-[A-Z-]+)`", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")))
    assert documented == set(CODES)
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES if path.name != "errors.py")
    assert {code for code in CODES if f'"{code}"' not in text} == set()


def test_architecture_names_every_module():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    missing = [
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py") and path.name not in text
    ]
    assert missing == []


def test_links_in_documents_resolve():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "workflows").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith("mailto:"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
