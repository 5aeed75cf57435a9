"""``make revision m=…`` takes every text as a text."""

import ast

import pytest
from projects import BARE, parameters, run

WITH_POSTGRES = BARE | {"use_postgres": True}
MESSAGES = [
    "$(shell touch ran)",
    '"""\nopen("ran", "w")\n"""',
    "--splice",
]
RELATED = [  # to one of the above
    "`touch ran`",
    "'; touch ran; '",
    "$(touch ran)",
    "${shell touch ran}",
    '"; touch ran; "',
    "$$(touch ran) \\",
    '""" + open("ran", "w") + """',
]
MESSAGES += [pytest.param(message, marks=pytest.mark.weekly) for message in RELATED]


@pytest.mark.parametrize("project", parameters([WITH_POSTGRES]), indirect=True)
@pytest.mark.parametrize("message", MESSAGES)
def test_message_runs_nothing(project, message):
    migrations = project / project.name / "migrations"
    run("make", "migrate", cwd=project)
    before = set(migrations.iterdir())

    run("make", "revision", f"m={message}", cwd=project)

    [written] = set(migrations.glob("*.py")) - before
    text = written.read_text()
    written.unlink()
    assert not (project / "ran").exists()
    assert "touch" in text or "open" in text or "--splice" in text
    assert isinstance(ast.parse(text).body[1], ast.Import)  # the docstring has not ended


@pytest.mark.parametrize("project", parameters([WITH_POSTGRES]), indirect=True)
def test_deleted_table_returns_with_its_times_in_utc(project):
    models = project / project.name / "models.py"
    before = models.read_text()
    models.write_text(before[: before.index("class Note(")])
    notes = project / project.name / "notes.py"
    kept = notes.read_text()
    notes.write_text('from .core.api import Blueprint\n\nbp = Blueprint("notes", __name__)\n')

    try:
        run("make", "revision", "m=delete notes", cwd=project)
    finally:
        models.write_text(before)
        notes.write_text(kept)

    [written] = (project / project.name / "migrations").glob("*delete_notes*.py")
    text = written.read_text()
    written.unlink()
    assert text.count("sa.DateTime(timezone=True)") == 1
    assert "DATETIME" not in text
