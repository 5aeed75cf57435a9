"""Lines of generated projects, by kind of file: ``make sizes``.

No limit follows from these figures. What makes code hard to read has limits: the length of a line, a
function and a module; see test_files.py and test_sizes.py.
"""

import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
NOTHING = {"use_postgres": False, "use_redis": False, "use_nginx": False}
EVERYTHING = {
    "use_worker": True,
    "use_tailwind": True,
    "use_metrics": True,
    "use_openapi": True,
    "use_accounts": True,
    "use_tls": True,
    "use_kubernetes": True,
    "frontend": "htmx",
}
ANSWERS = {"bare": NOTHING, "full": {}, "everything": EVERYTHING}
# The first that fits counts
KINDS = {
    "core/, which the template updates": ["my_service/core/*.py"],
    "the owner's Python": ["my_service/**/*.py"],
    "settings and programs": ["config/*.py", "bin/*"],
    "tests": ["tests/**/*.py"],
    "YAML": ["**/*.yaml", "**/*.yml"],
    "shell and nginx": ["**/*.sh", "nginx/*.template"],
    "Makefile and Dockerfile": ["Makefile", "Dockerfile"],
    "HTML, CSS and JavaScript": ["**/*.html", "**/*.css", "**/*.js", "**/*.mjs", "nginx/*.json"],
    "README.md": ["README.md"],
}


def lines(project):
    """Return the number of lines of each kind of file."""
    counted, found = set(), {}
    for kind, patterns in KINDS.items():
        files = {file for pattern in patterns for file in project.glob(pattern)} - counted
        counted |= files
        found[kind] = sum(file.read_bytes().count(b"\n") for file in files)
    return found


def generate(folder, answers):
    """Generate a project, and return its path."""
    options = {"no_input": True, "default_config": True, "output_dir": folder}
    return Path(cookiecutter(str(TEMPLATE), extra_context=answers, **options))


def main():
    """Generate the projects, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        columns = {
            name: lines(generate(f"{folder}/{name}", answers)) for name, answers in ANSWERS.items()
        }
    print(f"{'lines':34}", *(f"{name:>10}" for name in columns))
    for kind in KINDS:
        print(f"{kind:34}", *(f"{column[kind]:10,}" for column in columns.values()))


if __name__ == "__main__":
    main()
