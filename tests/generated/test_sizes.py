"""The generated code is in small pieces, and uses libraries as they are documented."""

import ast
import re

import additions
import pytest
from projects import BARE, TEMPLATE, each_combination

LONGEST = {"function": 25, "module": 150}  # lines
SETTINGS = {  # one block for each option
    "config/settings.py",
    "tests/conftest.py",
    "tests/test_settings.py",
}

# Attributes of objects of a library that may be assigned; all but the first are data.
ASSIGNED = {
    "app.wsgi_app",
    "logging.getLogger('gunicorn.error').handlers",
    "logging.getLogger('multiprocessing').handlers",
    "os.environ",
    "record.request_id",
    "response.content_type",
    "response.data",
    "root.handlers",
    "setattr(note, name, value)",
    "user.tf_last_counter",
}


def is_python(path):
    """Return whether a file is Python: a module, or a program in ``bin/``."""
    return path.suffix == ".py" or (
        path.parent.name == "bin" and re.match("#!.* (python3|uv run .*)\n", path.read_text())
    )


def sources(project):
    """Return the text of each Python file of a project, by path."""
    return {
        str(path.relative_to(project)): path.read_text()
        for path in sorted(project.rglob("*"))
        if path.is_file() and not {".venv", "node_modules"} & set(path.parts) and is_python(path)
    }


def length(node):
    """Return the number of lines of a function."""
    return node.end_lineno - node.lineno + 1


def too_long(path, text):
    """Yield the functions and the module that are too long to be read at once."""
    if text.count("\n") > LONGEST["module"] and path not in SETTINGS:
        yield path
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and length(node) > LONGEST["function"]:
            yield f"{path}: {node.name}"


@each_combination()
def test_functions_and_modules_are_short(project):
    found = [name for path, text in sources(project).items() for name in too_long(path, text)]

    assert found == []


def test_long_function_is_found():
    body = "    pass\n" * LONGEST["function"]

    assert list(too_long("a.py", f"def f():\n{body}")) == ["a.py: f"]
    assert list(too_long("a.py", "\n" * 151)) == ["a.py"]


def test_table_says_what_each_option_adds(no_lock, bake):
    """`make additions` prints its rows."""
    text = (TEMPLATE / "docs/options.md").read_text()
    rows = [
        re.split(r" *\| *", row)[1:5]
        for row in re.findall(r"^\| `use_.*|^\| `frontend.*", text, re.M)
    ]
    before = {name: bake(**BARE | needed) for name, needed in additions.NEEDED.items()}
    bare = bake(**BARE)

    expected = {
        f"`{name}`": additions.added(bake(**BARE | answer), before.get(name, bare))
        for name, answer in additions.options().items()
    }
    shown = {name: columns for name, *columns in rows if name in expected and columns[0].isdigit()}
    assert shown == expected


def is_private(name):
    """Return whether a name starts with an underscore, and is not one like __name__."""
    return name.startswith("_") and not name.endswith("__")


def is_own(node):
    """Return whether an expression is the object of a method: self or cls."""
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def names_of_import(node):
    """Return the parts of all names in an import."""
    module = getattr(node, "module", None) or ""
    return ".".join([module, *(alias.name for alias in node.names)]).split(".")


def may_be_patched(call):
    """Return whether a test replaces something of the project itself."""
    path = ".".join(ast.unparse(argument).strip("'") for argument in call.args[:-1])
    return path in ASSIGNED or path.startswith(("config.", "my_service."))


def findings(source):
    """Yield private names of libraries, and replaced methods and view functions."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=value, attr=attr) if is_private(attr) and not is_own(value):
                yield f"private: {ast.unparse(node)}"
            case ast.Import() | ast.ImportFrom() if any(map(is_private, names_of_import(node))):
                yield f"private: {ast.unparse(node)}"
            case ast.Call(func=func, args=[_, ast.Constant(value=str(name)), *_]) if is_private(
                name
            ) and re.search(r"(get|has|set|del)attr$", ast.unparse(func)):
                yield f"private: {ast.unparse(node)}"
            case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()) if not (
                is_own(value) or ast.unparse(value) == "g" or ast.unparse(node) in ASSIGNED
            ):
                yield f"assigned: {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(attr="setattr")) if not may_be_patched(node):
                yield f"patched: {ast.unparse(node)}"
            case ast.Call(func=ast.Name(id="setattr")) if ast.unparse(node) not in ASSIGNED:
                yield f"assigned: {ast.unparse(node)}"
            case ast.Subscript(value=ast.Attribute(attr="view_functions"), ctx=ast.Store()):
                yield f"replaced: {ast.unparse(node)}"


@each_combination()
def test_libraries_are_used_as_they_are_documented(project):
    found = [
        f"{path}: {finding}"
        for path, text in sources(project).items()
        for finding in findings(text)
    ]

    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "app._got_first_request",
        "self.server._tasks",
        "current_app.extensions['x']._y()",
        "from gunicorn.workers._base import Worker",
        "from flask import _cv_app",
        "import psycopg._connection_base",
        "getattr(app, '_error_handlers')",
        "monkeypatch.setattr(redis, '_connect', None)",
        "monkeypatch.setattr(FileAwareEnv, 'read_env', None)",
        "monkeypatch.setattr('flask.Flask.make_response', other)",
        "server.handle_request = handle",
        "self.app.wsgi_app = other",
        "gunicorn.glogging.Logger.setup = quiet",
        "setattr(app, 'make_response', other)",
        "app.full_dispatch_request, n = other, 1",
        "with a as app.open_session: pass",
        "app.view_functions['home.index'] = cached",
    ],
)
def test_violation_is_found(source):
    assert len(list(findings(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "self._checks = cls._shared",
        "app.wsgi_app = ProxyFix(app.wsgi_app)",
        "g.request_id = 1",
        "name = __package__ + function.__name__",
        "app.config['X'] = app.view_functions['home.index']",
        "getattr(app, 'debug')",
        "monkeypatch.setattr(os, 'environ', {})",
        "monkeypatch.setattr('my_service.logs.configure', other)",
        "slug.replace('-', '_')",
        "from . import health",
    ],
)
def test_allowed_code_has_no_findings(source):
    assert list(findings(source)) == []
