"""The plan of the house: which room may import which, and what no room may do."""

import ast
import re
import subprocess
import sys

from tests.sources import FILES, PACKAGE, every_file, relative, tree

# Room -> rooms it may import. Modules at the top of the package are facades over the rooms; those of
# `BASE` stand below everything.
ALLOWED = {
    "layers": set(),
    "encoders": {"layers"},
    "losses": {"layers"},
    "models": {"layers", "encoders", "losses"},
    "metrics": set(),
    "data": {"geo"},
    "inference": {"layers"},
    "visualization": {"inference"},
    "geo": set(),
    "diagnosis": set(),
    "checkpoints": set(),
    "scoring": {"data", "metrics"},
    "reporting": {"metrics", "visualization"},
    "analysis": {"inference", "metrics"},
    "methods": {
        "analysis",
        "checkpoints",
        "encoders",
        "inference",
        "layers",
        "metrics",
        "models",
        "visualization",
    },
    "exporting": {"encoders", "inference", "layers", "methods"},
    "scenes": {"geo", "inference", "map_views", "methods", "visualization"},
    "synthetic": {"data"},
    "app": {"geo", "map_views", "methods", "scenes", "segmenter", "synthetic", "visualization"},
    "commands": None,
    "d2": None,
    # Modules at the top, from the lowest to the highest.
    "errors.py": set(),
    "class_colors.py": set(),
    "class_facts.py": set(),
    "class_lists.py": set(),
    "class_tables.py": set(),
    "decision.py": set(),
    "finite.py": set(),
    "devices.py": set(),
    "digests.py": set(),
    "labels.py": set(),
    "mistaken.py": set(),
    "natural_colors.py": set(),
    "legend.py": set(),
    "palette.py": set(),
    "quoting.py": set(),
    "reading.py": set(),
    "stopping.py": set(),
    "typing.py": set(),
    "vocabulary.py": set(),
    "windows.py": set(),
    "wording.py": set(),
    "writing.py": set(),
    "map_files.py": {"geo", "visualization"},
    "map_views.py": {"geo", "visualization"},
    "segmentation.py": {"geo", "inference", "map_files", "map_views"},
    "predicting.py": {"geo", "inference", "methods", "segmentation"},
    "explaining.py": {"geo", "inference", "methods"},
    "segmenter.py": {
        "explaining",
        "exporting",
        "geo",
        "inference",
        "methods",
        "predicting",
        "scenes",
        "segmentation",
    },
    "__init__.py": {"checkpoints", "methods", "segmentation", "segmenter"},
}
SHARED = {"cost_volumes"}  # folders beside those of the methods, with what several of them are made of
METHODS = {path.name for path in (PACKAGE / "models").iterdir() if path.is_dir() and path.name[0] != "_"}
METHODS -= SHARED
BASE = {
    "errors", "devices", "finite", "class_colors", "class_facts", "class_lists", "class_tables", "vocabulary",
    "writing",
    "decision", "digests", "labels", "mistaken", "natural_colors", "legend", "palette", "quoting",
    "reading", "stopping",
    "typing", "windows", "wording",
}  # fmt: skip
ONLY_IN = {
    "detectron2": ("d2/",),
    "pyogrio": ("geo/",),
    "rasterio": ("geo/",),
    "shapely": ("geo/",),
    "open_clip": ("encoders/text.py", "checkpoints/hub.py"),
    "pydensecrf": ("inference/crf.py",),
    "gradio": ("app/",),
}


def imports(path, annotations=True):
    """Every module that a file imports, at any depth, as dotted names; those of annotations alone or not."""
    parts = tree(path).body
    if not annotations:
        parts = [node for node in parts if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    for node in (each for part in parts for each in ast.walk(part)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import"
            yield node.module
            if node.module == "rskt_seg":
                yield from (f"rskt_seg.{alias.name}" for alias in node.names)


@every_file
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
        for node in tree(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not re.search(r"\brskt_seg\.d2\b", ast.unparse(node)), f"{path}: {ast.unparse(node)}"


@every_file
def test_methods_never_import_each_other(path):
    parts = relative(path).split("/")
    if parts[0] not in ("models", "methods") or len(parts) < 3:
        return
    others = METHODS - {parts[1]}
    for name in imports(path):
        assert not others & set(name.split(".")), f"{relative(path)} imports {name}"


@every_file
def test_heavy_libraries_stay_in_their_rooms(path):
    for name in imports(path, annotations=not relative(path).startswith("commands/")):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or relative(path).startswith(rooms), f"{relative(path)} imports {name}"


WRITES_ENVIRONMENT = {
    "commands/waiting.py": "how OpenMP's threads wait, which its library reads when it is loaded",
    "commands/serve.py": "where Gradio puts uploads, for which it asks the environment alone",
}


@every_file
def test_no_print_no_fixed_device_no_environment_write(path):
    for node in ast.walk(tree(path)):
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
                if relative(path) in WRITES_ENVIRONMENT:
                    continue
                assert not text.startswith("os.environ"), f"{path}:{node.lineno}: writes the environment"


EXECUTES = re.compile(
    r"(eval|exec|compile|__import__)$|(builtins\.\w+|runpy\.\w+|marshal\.loads?|shelve\.open)$"
    r"|(pickle|cPickle|dill|joblib|cloudpickle)\.(load|loads|Unpickler)$"
    r"|torch\.(jit|package|hub|export)\.\w*[lL]oad\w*$|torch\.classes\.\w+"
    r"|yaml\.(load|load_all|full_load|unsafe_load|Loader|FullLoader|UnsafeLoader)$|os\.(system|popen)$"
)


@every_file
def test_nothing_in_a_file_is_executed(path):
    """No call that runs what it reads; `torch.load` and `numpy.load` only in the modes that read values."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        name, where = ast.unparse(node.func), f"{relative(path)}:{node.lineno}"
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        assert not EXECUTES.match(name), f"{where}: {name} can run what it reads"
        assert given.get("allow_pickle", "False") == "False", f"{where}: allow_pickle"
        assert given.get("shell", "False") == "False", f"{where}: shell"
        if name == "torch.load":
            assert given.get("weights_only") == "True", f"{where}: torch.load without weights_only=True"


def test_the_only_unpickler_is_the_restricted_one():
    found = [
        (relative(path), ast.unparse(base), [each.name for each in node.body if hasattr(each, "name")])
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if "Unpickler" in ast.unparse(base)
    ]
    ((file, base, methods),) = found
    assert (file, base) == ("checkpoints/torchscript.py", "pickle.Unpickler") and "find_class" in methods


@every_file
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400, f"{path} has over 400 lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{relative(path)}:{node.name} does not fit a screen"


def test_importing_the_package_loads_no_heavy_library():
    heavy = {"detectron2", "rasterio", "cv2", "open_clip", "matplotlib", "pydensecrf"}
    code = f"import sys, rskt_seg; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


NAMES_OF_DATA = "names of registered data and of protocols, which users write; they say what the data are"
MAY_NAME_A_METHOD = {
    "methods/builtin.py": "the list of the built-in methods",
    "models/__init__.py": "exports the models of all methods",
    "commands/segment_flags.py": "what help says of the methods; a test holds it to their records",
    "commands/knowledge_file.py": "a command for the description files of one method",
    "data/catalog.py": NAMES_OF_DATA,
    "data/class_sets.py": NAMES_OF_DATA,
    "data/convert.py": NAMES_OF_DATA,
    "data/preparation/closed_set.py": NAMES_OF_DATA,
    "data/preparation/recipes.py": NAMES_OF_DATA,
    "metrics/protocols.py": NAMES_OF_DATA,
    "methods/ovrsis.py": "the name of a published table",
}
_FOLDERS, _FILES = "|".join(sorted(METHODS | SHARED)), "|".join(sorted(METHODS))
OWN = re.compile(rf"(models|methods)/({_FOLDERS})/|d2/methods/({_FILES})")


def words_of_code(module):
    """Every name, attribute, import and string of a module, docstrings aside."""
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.alias(name=word):
                yield word
            case ast.ImportFrom(module=word) | ast.FunctionDef(name=word) | ast.ClassDef(name=word):
                yield word
            case ast.Constant(value=str(word)) if id(node) not in docstrings:
                yield word


@every_file
def test_generic_code_names_no_method(path):
    if OWN.match(relative(path)) or relative(path).startswith("synthetic/"):
        return
    # The package, its error, the benchmark and its augmentation, and the address of an encoder's file.
    own_name = re.compile(r"rskt[_-]seg|RSKTSegError|OVRSIS(Bench)?|ovrsis|yecy749/GSNet")
    words = (own_name.sub("", word) for word in words_of_code(tree(path)))
    named = sorted({word for word in words if re.search("|".join(METHODS), word, re.IGNORECASE)})
    if relative(path) in MAY_NAME_A_METHOD:
        assert named, "the exception has no use any more"
    else:
        assert not named, f"{relative(path)} names a method: {named}"


@every_file
def test_no_model_is_probed_for_what_it_has(path):
    allowed = {"d2/compat.py"}  # what differs between releases of Detectron2 and Pillow
    calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    probes = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "hasattr"]
    assert not probes or relative(path) in allowed, f"{relative(path)} probes with hasattr"


def test_no_module_imports_itself_by_way_of_others():
    """Imports at the top of modules; those inside functions run when everything is there."""
    modules = {("rskt_seg." + relative(p).removesuffix(".py").replace("/", ".")): p for p in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {}
    for name, path in modules.items():
        imported = set()
        for node in tree(path).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
                imported |= inner or ({node.module} & modules.keys())
        # A package imports its modules to export them, and they may import each other.
        graph[name] = {each for each in imported if not each.startswith(f"{name}.")}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for each in sorted(graph[name]):
            visit(each)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)
