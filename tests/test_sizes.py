"""The generated code is small, and uses libraries as they are documented."""

import ast
import re

import additions
import pytest
from conftest import BARE, FULL, TEMPLATE, each_combination, files_of, parameters

# Lines of the full and of the bare project, without migrations and the programs that check the
# service from outside. "infrastructure" is the package without its examples and tables.
LIMITS = {
    "Python": (900, 500),
    "infrastructure": (500, 300),
    "tests": (1_100, 600),
    "compose.yaml": (165, 165),
    "nginx/nginx.conf.template": (110, 0),
    "Makefile": (110, 110),
    "README.md": (190, 190),
}
TOOLS = {"locustfile.py"}
EXAMPLES = {f"my_service/{name}.py" for name in ("home", "models", "notes", "tasks")}
# Lines that an option adds to the full project, without its examples
ADDED = {
    "use_worker": {"Python": 130, "compose.yaml": 90},
    "use_metrics": {"Python": 95, "compose.yaml": 1, "nginx/nginx.conf.template": 5},
    "use_openapi": {"Python": 80},
    "use_tls": {"Python": 0, "compose.yaml": 30, "nginx/nginx.conf.template": 6},
    "use_kubernetes": {
        "Python": 0,
        "compose.yaml": 2,
        "nginx/nginx.conf.template": 6,
        "Makefile": 15,
        "README.md": 30,
    },
}
# Lines of the full project when a limit was last changed: messages list files that have grown.
RECORDED = {
    "Makefile": 109, "README.md": 190, "bin/env": 31, "bin/healthcheck": 10, "compose.yaml": 134,
    "config/__init__.py": 0, "config/gunicorn.py": 40, "config/settings.py": 122,
    "my_service/__init__.py": 38, "my_service/api.py": 56, "my_service/assets.py": 39,
    "my_service/cache.py": 45, "my_service/database.py": 97, "my_service/errors.py": 36,
    "my_service/health.py": 44, "my_service/home.py": 20, "my_service/logs.py": 85,
    "my_service/models.py": 49, "my_service/notes.py": 91, "my_service/security.py": 38,
    "my_service/toolbar.py": 22, "nginx/nginx.conf.template": 110, "tests/conftest.py": 118,
    "tests/test_api.py": 74, "tests/test_assets.py": 66, "tests/test_cache.py": 74,
    "tests/test_database.py": 130, "tests/test_errors.py": 36, "tests/test_health.py": 32,
    "tests/test_home.py": 21, "tests/test_logs.py": 90, "tests/test_migrations.py": 91,
    "tests/test_notes.py": 79, "tests/test_security.py": 76, "tests/test_server.py": 87,
    "tests/test_settings.py": 107, "tests/test_toolbar.py": 16,
}  # fmt: skip

# Attributes of objects of a library that may be assigned; all but the first are data.
ASSIGNED = {
    "app.wsgi_app",
    "logging.getLogger('gunicorn.error').handlers",
    "logging.getLogger('multiprocessing').handlers",
    "note.words",
    "os.environ",
    "record.request_id",
    "response.content_type",
    "response.data",
    "root.handlers",
}
BOTH = pytest.mark.parametrize("project", parameters([FULL, BARE]), indirect=True)


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


def lines(project):
    """Return the lines of each file with a limit, by the name of the limit."""
    counted = {kind: {} for kind in LIMITS}
    for path in files_of(project):
        if path in LIMITS:
            counted[path][path] = (project / path).read_text().count("\n")
    for path, text in sources(project).items():
        if path.startswith("tests/"):
            counted["tests"][path] = text.count("\n")
        elif "/migrations/" not in path and path not in TOOLS:
            counted["Python"][path] = text.count("\n")
            if path.startswith("my_service/") and path not in EXAMPLES:
                counted["infrastructure"][path] = text.count("\n")
    return counted


def excess(project, column):
    """Return a message for each exceeded limit, with its files and those that have grown."""
    messages = []
    for kind, files in lines(project).items():
        total, limit = sum(files.values()), LIMITS[kind][column]
        if total > limit:
            shown = ", ".join(
                f"{path} {count}{f' (was {was})' if count > (was := RECORDED.get(path, 0)) else ''}"
                for path, count in sorted(files.items())
            )
            messages.append(f"{kind}: {total} lines, {total - limit} more than {limit}: {shown}")
    return messages


@BOTH
def test_project_is_no_longer_than_its_limits(project, chosen):
    found = excess(project, 0 if chosen == FULL else 1)

    assert not found, "\n" + "\n".join(found)


def test_message_names_the_file_that_has_grown(bake):
    project = bake()
    for path in ("my_service/logs.py", "bin/env", "tests/test_logs.py"):
        (project / path).write_text("#!/usr/bin/env python3" + "\n" * 2_000)

    messages = {message.partition(":")[0]: message for message in excess(project, 0)}

    assert "my_service/logs.py 2000 (was" in messages["Python"]
    assert "bin/env 2000 (was" in messages["Python"]
    assert "my_service/logs.py 2000 (was" in messages["infrastructure"]
    assert "bin/env" not in messages["infrastructure"]
    assert "tests/test_logs.py 2000 (was" in messages["tests"]


@pytest.mark.parametrize("option", ADDED)
def test_option_adds_no_more_lines_than_its_limits(no_lock, bake, option):
    counted = {}
    for answer in (True, False):
        project = bake(**FULL | {option: answer})
        for kind, files in lines(project).items():
            total = sum(count for path, count in files.items() if path not in EXAMPLES)
            counted.setdefault(kind, []).append(total)

    added = {kind: counted[kind][0] - counted[kind][1] for kind in ADDED[option]}
    too_long = {kind: count for kind, count in added.items() if count > ADDED[option][kind]}
    assert too_long == {}


def configuration(project):
    """Count the lines of the files that configure tools: Docker, Compose, make, git, GitHub."""
    folders = (".git/", ".venv/", "assets/", "bin/", "config/", "my_service/", "tests/")
    paths = files_of(project) - additions.NOT_COUNTED
    return additions.lines(project, [path for path in paths if not path.startswith(folders)])


@pytest.mark.parametrize(
    "answer",
    [{"frontend": "htmx"}, {"use_tailwind": True}, {"frontend": "vue", "use_tailwind": True}],
    ids=str,
)
def test_front_end_adds_at_most_60_lines_of_configuration(no_lock, bake, answer):
    """Beside its own directory, ``assets/``."""
    assert configuration(bake(**FULL | answer)) - configuration(bake(**FULL)) <= 60


def test_table_says_what_each_option_adds(no_lock, bake):
    """`python tests/additions.py` prints its rows."""
    text = (TEMPLATE / "docs/options.md").read_text()
    rows = [
        re.split(r" *\| *", row)[1:5]
        for row in re.findall(r"^\| `use_.*|^\| `frontend.*", text, re.M)
    ]
    bare = bake(**BARE)

    expected = {
        f"`{name}`": additions.added(bake(**BARE | answer), bare)
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
            case ast.Call(func=ast.Name(id="setattr")):
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
