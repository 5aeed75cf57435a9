"""OpenAPI: the document is valid, it describes the running service, and Chromium shows the page."""

import re
import shutil
import subprocess

import pytest
from browser import chromium
from conftest import BARE, ENVIRONMENT, FULL, parameters, run
from stacks import report, trial, wait_for

WITH_NOTES = FULL | {"use_openapi": True, "use_worker": True}
ALONE = BARE | {"use_openapi": True}
EACH = pytest.mark.parametrize("project", parameters([WITH_NOTES, ALONE]), indirect=True)
PRINT = "import {0}; print({0}.create_app().test_client().get('/openapi.json').text)"
STACKS = [WITH_NOTES, ALONE | {"use_postgres": True}]


@EACH
def test_document_is_valid(project, tmp_path):
    file = tmp_path / "openapi.json"
    text = run("uv", "run", "--quiet", "python", "-c", PRINT.format(project.name), cwd=project)
    file.write_text(text.stdout[text.stdout.index("{") :])

    run("uvx", "openapi-spec-validator@0.9.0", "--schema=3.1", file, cwd=tmp_path)
    if shutil.which("npx", path=ENVIRONMENT["PATH"]):
        lint = ["npx", "--yes", "@redocly/cli@2.77.0", "lint", "--extends=recommended-strict"]
        run(*lint, file, cwd=tmp_path)


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
@pytest.mark.parametrize("options", STACKS, ids=["all", "postgres"])
def test_service_does_what_the_document_describes(engine, cookies_session, options):
    with trial(cookies_session, options, "openapi", 8230) as stack:
        readme = (stack.project / "README.md").read_text()
        [command] = re.findall(r"`(uvx schemathesis run .*)`", readme)
        stack.up()
        command = re.sub(r":80[08]0/", f":{stack.port}/", command)
        printed = run("sh", "-c", command, cwd=stack.project).stdout

        page = stack.get("/openapi").status

    [cases] = re.findall(r"(\d+) generated, \d+ passed", printed)
    report(f"schemathesis: {cases} requests without a difference")
    assert "Tested: 6" in printed
    assert int(cases) > 300
    assert page == 404


@EACH
def test_page_keeps_the_policy(project, tmp_path):
    flask = ["uv", "run", "--quiet", "flask", f"--app={project.name}", "run", "--port=8231"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(flask, cwd=project, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        with chromium(tmp_path / "profile") as open_tab:
            tab = open_tab()
            wait_for(lambda: "Running on" in (tmp_path / "log").read_text(), 20)
            tab.open("http://127.0.0.1:8231/openapi")
            shown = tab.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent)")
            wide = tab.evaluate("document.documentElement.scrollWidth > innerWidth")
            broken = tab.evaluate(
                "[...document.querySelectorAll('a[href^=\"#\"]')]"
                ".filter(a => !document.getElementById(a.hash.slice(1))).length"
            )
    finally:
        server.terminate()
        server.wait(timeout=20)

    assert "GET /readyz" in shown
    assert ("POST /notes" in shown) == (project / project.name / "notes.py").exists()
    assert (tab.console, broken, wide) == ([], 0, False)
    assert all(url.startswith("http://127.0.0.1:8231/") for url in tab.requested)
