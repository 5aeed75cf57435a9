"""Print the milliseconds that one thing takes in a new process, inside of a container.

python imports.py service      to import the whole service
python imports.py libraries    to import what it imports, and nothing of its own
python imports.py create_app   to build the application, when all is imported
"""

import ast
import importlib
import os
import sys
import time
from pathlib import Path

PACKAGE = os.environ["FLASK_APP"]
OWN = {PACKAGE, "config"}


def is_foreign(statement: ast.stmt) -> bool:
    """Whether the statement imports something that is not the service's own."""
    if isinstance(statement, ast.ImportFrom):
        return not statement.level and statement.module.partition(".")[0] not in OWN
    return isinstance(statement, ast.Import) and statement.names[0].name not in OWN


def libraries() -> float:
    """Run the import statements of all modules that reach outside; since when."""
    files = [Path("config/settings.py"), *Path(PACKAGE).rglob("*.py")]
    trees = [ast.parse(file.read_text()) for file in files if "migrations" not in file.parts]
    statements = [node for tree in trees for node in tree.body if is_foreign(node)]
    code = compile(ast.Module(statements, []), "libraries", "exec")
    begun = time.perf_counter()
    exec(code, {})
    return begun


def service() -> float:
    """Import the service with its settings; since when."""
    begun = time.perf_counter()
    importlib.import_module("config.settings")
    importlib.import_module(PACKAGE)
    return begun


def create_app() -> float:
    """Build the application; since when."""
    service()
    begun = time.perf_counter()
    importlib.import_module(PACKAGE).create_app()
    return begun


sys.path.insert(0, "")
begun = {"service": service, "libraries": libraries, "create_app": create_app}[sys.argv[1]]()
print((time.perf_counter() - begun) * 1000)
