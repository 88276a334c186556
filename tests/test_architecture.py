"""The plan of the house: which room may import which, and what no room may do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rskt_seg"
FILES = sorted(PACKAGE.rglob("*.py"))
# Room -> rooms it may import. Modules at the top of the package are facades over the rooms; those of
# `BASE` stand below everything.
ALLOWED = {
    "layers": set(),
    "encoders": {"layers"},
    "losses": {"layers"},
    "models": {"layers", "encoders", "losses"},
    "metrics": set(),
    "data": set(),
    "inference": {"layers"},
    "visualization": {"inference"},
    "geo": set(),
    "checkpoints": set(),
    "methods": {"checkpoints", "encoders", "inference", "metrics", "models", "visualization"},
    "synthetic": {"data"},
    "commands": None,
    "d2": None,
    # Modules at the top, from the lowest to the highest.
    "errors.py": set(),
    "digests.py": set(),
    "labels.py": set(),
    "palette.py": set(),
    "typing.py": set(),
    "vocabulary.py": set(),
    "windows.py": set(),
    "writing.py": set(),
    "segmenter.py": {"geo", "inference", "methods"},
    "__init__.py": {"checkpoints", "methods", "segmenter"},
}
METHODS = {path.name for path in (PACKAGE / "models").iterdir() if path.is_dir() and path.name[0] != "_"}
BASE = {"errors", "vocabulary", "writing", "digests", "labels", "palette", "typing", "windows"}
ONLY_IN = {
    "detectron2": ("d2/",),
    "rasterio": ("geo/",),
    "open_clip": ("encoders/text.py", "checkpoints/hub.py"),
    "pydensecrf": ("inference/crf.py",),
}


def imports(path, annotations=True):
    """Every module that a file imports, at any depth, as dotted names; those of annotations alone or not."""
    tree = ast.parse(path.read_text())
    if not annotations:
        tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import"
            yield node.module
            if node.module == "rskt_seg":
                yield from (f"rskt_seg.{alias.name}" for alias in node.names)


def relative(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_flow_one_way(path):
    room = relative(path).split("/")[0]
    if ALLOWED[room] is None:
        return
    for name in imports(path):
        if name.startswith("rskt_seg."):
            other = name.split(".")[1]
            assert other in ALLOWED[room] | BASE | {room}, f"{relative(path)} imports {name}"


def test_commands_import_detectron2s_side_inside_functions_so_that_its_lack_is_one_line():
    for path in sorted((PACKAGE / "commands").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not re.search(r"\brskt_seg\.d2\b", ast.unparse(node)), f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_methods_never_import_each_other(path):
    parts = relative(path).split("/")
    if parts[0] not in ("models", "methods") or len(parts) < 3:
        return
    others = METHODS - {parts[1]}
    for name in imports(path):
        assert not others & set(name.split(".")), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_heavy_libraries_stay_in_their_rooms(path):
    for name in imports(path, annotations=not relative(path).startswith("commands/")):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or relative(path).startswith(rooms), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_print_no_fixed_device_no_environment_write(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            assert not (isinstance(function, ast.Name) and function.id == "print"), f"{path}: print"
            assert not (isinstance(function, ast.Attribute) and function.attr == "cuda"), f"{path}: .cuda("
            writes = r"os\.(environ\.(update|setdefault|pop|clear)|putenv|unsetenv)$"
            assert not re.match(writes, ast.unparse(function)), (
                f"{path}:{node.lineno}: writes the environment"
            )
        if isinstance(node, ast.Constant):
            assert node.value != "cuda", f"{path}:{node.lineno}: literal device"
        if isinstance(node, ast.Assign | ast.Delete):
            for target in node.targets:
                text = ast.unparse(target)
                assert not text.startswith("os.environ"), f"{path}:{node.lineno}: writes the environment"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400, f"{path} has over 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{relative(path)}:{node.name} does not fit a screen"


def test_importing_the_package_loads_no_heavy_library():
    heavy = {"detectron2", "rasterio", "cv2", "open_clip", "matplotlib", "pydensecrf"}
    code = f"import sys, rskt_seg; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
