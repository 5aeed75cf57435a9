"""Known vulnerabilities: ``make audit``, and the workflow that scans and pushes the images."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from projects import each_combination, run

# The vulnerabilities of a stub of osv.dev: their package, other names, and first fixed version
KNOWN = {
    "PYSEC-1": ("flask", ["CVE-2026-1"], "99.0"),
    "PYSEC-2": ("click", [], None),
}
LATER = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


class Osv(BaseHTTPRequestHandler):
    """Answers as the API of osv.dev does: https://google.github.io/osv.dev/api/."""

    def do_POST(self):
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.answer({"results": [self.known(query["package"]["name"]) for query in queries]})

    def known(self, name):
        found = [key for key, (package, _, _) in KNOWN.items() if package == name]
        return {"vulns": [{"id": key, "modified": "2026-01-01T00:00:00Z"} for key in found]}

    def do_GET(self):
        key = self.path.rpartition("/")[2]
        package, aliases, fixed = KNOWN[key]
        events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
        affected = {
            "package": {"ecosystem": "PyPI", "name": package},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        about = {"id": key, "aliases": aliases, "modified": "2026-01-01T00:00:00Z"}
        self.answer(about | {"summary": "bad", "affected": [affected]})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def osv():
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def audit(bake):
    """Return a function that runs ``bin/audit`` with these exceptions."""
    project = bake()

    def check(address, *entries):
        if entries:
            file = project / ".trivyignore"
            file.write_text("# The function is not called\n\n" + "\n".join(entries) + "\n")
        command = ["python3", "bin/audit", "--service-url", address]
        return run(*command, cwd=project, check=False)

    return check


def test_vulnerability_with_a_fix_fails(audit, osv):
    done = audit(osv)

    assert done.returncode == 1
    assert re.search(r"- PYSEC-1: .*\n\n  Fixed in: 99.0\n", done.stdout)
    assert "- PYSEC-2: " in done.stdout
    assert "Run make upgrade" in done.stdout


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-2026-1"])
def test_exception_is_honoured_until_its_date(audit, osv, name):
    done = audit(osv, f"{name} exp:{LATER}")

    assert done.returncode == 0, done.stdout
    assert "PYSEC-1" not in done.stdout
    assert "PYSEC-2" in done.stdout  # there is no fix


@pytest.mark.parametrize("date", ["", f" exp:{TODAY}", " exp:soon"])
def test_exception_without_a_later_date_fails(audit, osv, date):
    done = audit(osv, f"PYSEC-1 exp:{LATER}", f"PYSEC-2{date}")

    assert done.returncode == 1
    assert "PYSEC-2 in .trivyignore needs a later date" in done.stdout


def test_unreachable_database_is_no_success(audit):
    done = audit("http://127.0.0.1:1")

    assert done.returncode == 1
    assert done.stdout.endswith("The packages were not checked, because of the error above.\n")


def test_make_audit_runs_the_script(bake):
    printed = run("make", "--dry-run", "audit", cwd=bake()).stdout

    assert re.fullmatch(r"UV=\S+ python3 bin/audit\n", printed)


@each_combination()
def test_workflow_pins_what_it_runs_and_scans_without_secrets(project, chosen, tmp_path):
    text = (project / ".github/workflows/image.yml").read_text()
    workflow = yaml.safe_load(text)
    scan, push = workflow["jobs"]["scan"], workflow["jobs"]["push"]
    steps = scan["steps"] + push["steps"]

    for uses in (step["uses"] for step in steps if "uses" in step):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", uses)
    assert re.fullmatch(r"\S+:[\d.]+@sha256:[0-9a-f]{64}", scan["env"]["TRIVY"])
    assert scan["permissions"] == {"contents": "read"}
    assert "${{" not in json.dumps(scan)  # no secret, and no token
    assert workflow[True]["schedule"] == [{"cron": "23 4 * * 1"}]  # YAML reads `on` as True
    assert (push["needs"], push["if"]) == ("scan", "startsWith(github.ref, 'refs/tags/')")
    scripts = [step["run"] for step in steps if "run" in step]
    assert "make audit" in scripts
    stages = {"production", "caddy"} if chosen["use_tls"] else {"production"}
    lines = "\n".join(scripts).splitlines()
    assert {line.split()[1] for line in lines if line.startswith("build ")} == stages
    for stage in stages:
        blocking = [line for line in lines if f"{stage}.tar --exit-code=1 --ignore-unfixed" in line]
        [options] = blocking
        assert ("--pkg-types=os" in options) is (stage == "caddy")  # its program is not ours
        assert any(line.startswith(f"scan image --input {stage}.tar") for line in lines)
    for number, script in enumerate(scripts):
        file = tmp_path / f"{number}.sh"
        file.write_text(f"#!/bin/bash -e\n{script}\n")
        run("shellcheck", file, cwd=project)
