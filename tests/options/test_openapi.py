"""OpenAPI: the document is valid, it describes the running service, and Chromium shows the page."""

import re
import shutil
import subprocess
from urllib.request import urlopen

import pytest
from browser import chromium
from figures import report
from projects import BARE, ENVIRONMENT, FULL, WHOLE, commands, name_of, parameters, run
from stacks import temporary_stack, wait_for

WITH_NOTES = FULL | {"use_openapi": True, "use_worker": True}
ALONE = BARE | {"use_openapi": True}
EACH = pytest.mark.parametrize("project", parameters([WITH_NOTES, ALONE]), indirect=True)
PRINT = "import {0}; print({0}.create_app().test_client().get('/openapi.json').text)"
STACKS = [WITH_NOTES]
if WHOLE:  # each takes a minute
    WITHOUT = [{"use_nginx": False}, {"use_redis": False}, {"use_nginx": False, "use_redis": False}]
    STACKS += [WITH_NOTES | {"use_worker": False} | declined for declined in WITHOUT]
    STACKS += [ALONE, WITH_NOTES | {"use_metrics": True, "frontend": "htmx"}]


@EACH
def test_document_is_valid(project, tmp_path):
    file = tmp_path / "openapi.json"
    text = run("uv", "run", "--quiet", "python", "-c", PRINT.format(project.name), cwd=project)
    file.write_text(text.stdout[text.stdout.index("{") :])

    run("uvx", "openapi-spec-validator@0.9.0", "--schema=3.1", file, cwd=tmp_path)
    if shutil.which("npx", path=ENVIRONMENT["PATH"]):
        lint = ["npx", "--yes", "@redocly/cli@2.77.0", "lint", "--extends=recommended-strict"]
        unused = "--skip-rule=no-unused-components"  # Flask-Smorest adds one
        run(*lint, unused, file, cwd=tmp_path)


@pytest.mark.docker
@pytest.mark.faults
@pytest.mark.xdist_group("docker-untimed")
@pytest.mark.parametrize("options", STACKS, ids=name_of)
def test_service_does_what_the_document_describes(engine, cookies_session, options):
    with temporary_stack(cookies_session, options, "openapi", 8230) as stack:
        page = (stack.project / "docs/change.md").read_text()
        [command] = [c for c in commands(page) if c.startswith("uvx schemathesis")]
        stack.up()
        command = re.sub(r":80[08]0/", f":{stack.port}/", command)
        command += "" if WHOLE else " --max-examples=25"  # of 100
        printed = run("sh", "-c", command, cwd=stack.project).stdout

        page = stack.get("/openapi").status

    [cases] = re.findall(r"(\d+) generated, \d+ passed", printed)
    report(f"schemathesis: {cases} requests without a difference")
    operations, fewest = (7, 300 if WHOLE else 150) if options["use_postgres"] else (2, 10)
    assert f"Tested: {operations}" in printed
    assert int(cases) > fewest
    assert page == 404


@EACH
def test_page_keeps_the_policy(project, chosen, tmp_path):
    port = 8231 + chosen["use_postgres"]
    page = f"http://127.0.0.1:{port}/openapi"
    flask = ["uv", "run", "--quiet", "flask", f"--app={project.name}", "run", f"--port={port}"]
    server = subprocess.Popen(flask, cwd=project, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: urlopen(page, timeout=5).status == 200, 60)
        with chromium(tmp_path) as open_tab:
            tab = open_tab()
            tab.open(page)
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
    assert ("POST /notes" in shown) == chosen["use_postgres"]
    assert (tab.console, broken, wide) == ([], 0, False)
    assert all(url.startswith(page.removesuffix("openapi")) for url in tab.requested)
