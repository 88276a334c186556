"""The language of the house: what the docstrings of a room's exports state, and how."""

import ast
import re

from tests.sources import FILES, PACKAGE, every_file, tree

SECTION = re.compile(r"^( *)(Args|Attributes|Raises|Returns|Yields):\n((?:(?:\1 +.*)?\n)+)", re.MULTILINE)
OTHER_VERB = re.compile(r"(Returns|Gets|Computes|Reads|Writes|Checks|Builds|Draws|Makes|Creates|Loads)\b")


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def exported():
    """(module, name) of everything that the `__init__` of a room imports to offer it."""
    found = set()
    for path in PACKAGE.rglob("__init__.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                found |= {(node.module, alias.name) for alias in node.names}
    return found


EXPORTED = exported()


def public_functions(path):
    """Yield (name, function) of the exported functions of a file, and of the methods of exported classes."""
    for node in tree(path).body:
        if (module_name(path), getattr(node, "name", None)) not in EXPORTED:
            continue
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                is_overload = "overload" in map(ast.unparse, getattr(method, "decorator_list", ()))
                if isinstance(method, ast.FunctionDef) and method.name[0] != "_" and not is_overload:
                    yield f"{node.name}.{method.name}", method


def test_there_is_something_to_check():
    assert sum(1 for path in FILES for _ in public_functions(path)) > 250


@every_file
def test_exports_document_their_parameters_and_results(path):
    """One line is enough for a function without parameters, and for a method that refers to its base."""
    for name, function in public_functions(path):
        text, arguments = ast.get_docstring(function) or "", function.args
        named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        named = [a for a in named if a not in ("self", "cls")]
        assert text, f"{name} has no docstring"
        if not named or re.match(r"See `[\w.]+\.\w+`", text):
            continue
        sections = {m[2]: m[3] for m in SECTION.finditer(text + "\n")}
        documented = re.findall(r"^ *([\w*, ]+):", sections.get("Args", ""), re.MULTILINE)
        missing = set(named) - {a.strip("* ") for each in documented for a in each.split(",")}
        assert not missing, f"{name}: Args lacks {', '.join(sorted(missing))}"
        if function.returns is not None and ast.unparse(function.returns) != "None":
            assert {"Returns", "Yields"} & sections.keys(), f"{name} has no Returns"


@every_file
def test_docstrings_are_imperative_and_their_entries_are_sentences(path):
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node) or ""
        assert not OTHER_VERB.match(text), f"{node.name}: {text.splitlines()[0]!r} is not imperative"
        for _, title, body in (match.groups() for match in SECTION.finditer(text + "\n")):
            lines = body.split("\n")
            indent = len(lines[0]) - len(lines[0].lstrip())
            entries = [line.strip() for line in lines if re.match(rf" {{{indent}}}\S", line)]
            if title in ("Returns", "Yields"):
                starts = entries[:1]
            else:
                starts = [entry.partition(": ")[2] for entry in entries]
            for start in starts:
                assert not re.match(r"[a-z]+ ", start), f"{node.name}: {start!r} begins in lower case"
