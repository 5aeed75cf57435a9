"""What tests of deployments change, where they interrupt them, and what they look at."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path

from dotenv import dotenv_values
from projects import ENVIRONMENT, change, run
from stacks import wait_for

# Containers, also when Compose refuses the project


def containers(stack, service):
    """Return the output of `docker inspect` for each container of a service."""
    filters = {"project": stack.name, "service": service, "oneoff": "False"}
    options = [f"--filter=label=com.docker.compose.{label}={filters[label]}" for label in filters]
    ids = run("docker", "ps", "--all", "--quiet", *options, cwd=stack.project).stdout.split()
    # Between the two commands, a deployment may remove one
    found = run("docker", "inspect", *ids, cwd=stack.project, check=False).stdout if ids else "[]"
    return json.JSONDecoder().raw_decode(found[found.index("[") :])[0]


def identities(stack, *services):
    """Return what changes if a container of the services is replaced or restarted."""
    return {
        service: sorted((c["Id"], c["State"]["StartedAt"]) for c in containers(stack, service))
        for service in services
    }


def number_of_containers(stack):
    """Count the containers of each service, those of `docker compose run` included."""
    label = f"label=com.docker.compose.project={stack.name}"
    shown = '{{.Label "com.docker.compose.service"}}'
    listed = run(
        "docker", "ps", "--all", f"--filter={label}", f"--format={shown}", cwd=stack.project
    )
    return Counter(listed.stdout.split())


def replicas(stack):
    return len(containers(stack, "web"))


def image(stack):
    """Return the image with which Compose would start web now."""
    tag = containers(stack, "web")[0]["Config"]["Image"]
    command = ("docker", "image", "inspect", "--format={{.Id}}", tag)
    return run(*command, cwd=stack.project).stdout


# Changes: each function makes one, and returns a function that tells whether it is in effect


def answer(stack, path="/faults/version"):
    return json.loads(stack.get(path).text)


def set_constant(stack, name, value):
    file = stack.project / stack.project.name / "faults.py"
    file.write_text(re.sub(rf"(?m)^{name} = \d+", f"{name} = {value}", file.read_text()))


def set_variable(stack, name, value):
    """Set a variable in .env, where the last line counts."""
    file = stack.project / ".env"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
    file.write_text("\n".join([*lines, f"{name}={value}", ""]))


def setting(stack, name):
    return dotenv_values(stack.project / ".env").get(name)


def change_code(stack, number):
    set_constant(stack, "VERSION", number)
    return lambda: answer(stack)["version"] == number


def change_template(stack, number):
    base = stack.project / stack.project.name / "templates/base.html"
    base.write_text(
        re.sub(r"(<!-- \d+ -->)?</body>", f"<!-- {number} --></body>", base.read_text())
    )
    return lambda: f"<!-- {number} -->" in stack.get("/").text


def static_files(page):
    """Return the addresses of the static files that a page names."""
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', page)


def change_style(stack, number):
    sheet = stack.project / stack.project.name / "static/style.css"
    sheet.write_text(sheet.read_text() + f"\n.release-{number} {{ margin: 0; }}\n")
    return lambda: any(f".release-{number}" in stack.get(p).text for p in sheets(stack))


def sheets(stack):
    return [path for path in static_files(stack.get("/").text) if ".css" in path]


def change_script(stack, number):
    [script] = (stack.project / "assets/js").glob("app.js*")  # app.jsx with React
    script.write_text(script.read_text() + f'\ndocument.body.dataset.release = "r{number}";\n')
    return lambda: any(f'"r{number}"' in stack.get(path).text for path in scripts(stack))


def scripts(stack):
    return [path for path in static_files(stack.get("/").text) if ".js" in path]


def show_release(project):
    """Add an address at which nginx shows the configuration that it has loaded."""
    location = 'location = /release { return 200 "release 0, ${RATE_LIMIT}"; }'
    template = project / "nginx/nginx.conf.template"
    change(template, "listen 8080;", f"listen 8080;\n        {location}")


def change_nginx(stack, number):
    template = stack.project / "nginx/nginx.conf.template"
    template.write_text(re.sub(r"release \d+", f"release {number}", template.read_text()))
    return lambda: f"release {number}," in stack.get("/release").text


def change_rate_limit(stack, number):
    set_variable(stack, "RATE_LIMIT", f"{90_000 + number}r/s")
    return lambda: f" {90_000 + number}r/s" in stack.get("/release").text


def change_content_length(stack, number):
    size = 10_000 + 10 * number
    set_variable(stack, "MAX_CONTENT_LENGTH", size)
    # When a view reads a body of exactly this size in parts, Werkzeug refuses it
    return lambda: upload(stack, size - 1) == 200 and upload(stack, size + 1) == 413


def upload(stack, size):
    return stack.get("/faults/upload", method="POST", body="x" * (size - 2)).status  # and quotes


def change_log_level(stack, number):
    level = "INFO" if setting(stack, "LOG_LEVEL") == "DEBUG" else "DEBUG"
    set_variable(stack, "LOG_LEVEL", level)
    return lambda: answer(stack)["log_level"] == level


def change_dependency(stack, number):
    project = stack.project / "pyproject.toml"
    version = "0.5.1" if "inflection==0.5.0" in project.read_text() else "0.5.0"
    text = re.sub(r'    "inflection==.*\n', "", project.read_text())
    listed = "dependencies = [\n"
    project.write_text(text.replace(listed, f'{listed}    "inflection=={version}",\n', 1))
    run("uv", "lock", cwd=stack.project)
    return lambda: answer(stack, "/faults/packages").get("inflection") == version


MIGRATION = '''"""Add a column."""

import time

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    time.sleep({seconds})  # before the table is locked
    op.add_column("notes", sa.Column("{column}", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Revert the change."""
    op.drop_column("notes", "{column}")
'''


def change_migration(stack, number, seconds=0):
    folder = stack.project / stack.project.name / "migrations"
    head = newest_revision(folder)
    values = {"revision": f"{1_000 + number}", "column": f"release_{number}", "head": head}
    text = MIGRATION.format(seconds=seconds, **values)
    (folder / f"{values['revision']}_add_{values['column']}.py").write_text(text)
    return lambda: has_column(stack, values["column"])


def newest_revision(folder):
    """Return the revision on which no other is based."""
    texts = "".join(file.read_text() for file in folder.glob("*.py"))
    revisions = set(re.findall(r'^revision = "(.+)"', texts, re.M))
    (newest,) = revisions - set(re.findall(r'^down_revision = "(.+)"', texts, re.M))
    return newest


def has_column(stack, name):
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'notes'"
    return name in stack.sql(query)


CHANGES = {
    "code": change_code,
    "template": change_template,
    "style sheet": change_style,
    "script": change_script,
    "nginx": change_nginx,
    "RATE_LIMIT": change_rate_limit,
    "MAX_CONTENT_LENGTH": change_content_length,
    "LOG_LEVEL": change_log_level,
    "dependency": change_dependency,
    "migration": change_migration,
}


class Visitors:
    """Requests of all kinds, and what their responses say about static files."""

    def __init__(self, stack, title):
        self.files = self.old_files = static_files(stack.get("/").text)
        self.kept = defaultdict(set)  # by address, the contents that caches keep for a year
        self.requests = {
            "page": lambda number: ("GET", "/", None),
            "list": lambda number: ("GET", f"/notes?page={number % 50 + 1}", None),
            "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}"}),
            "static": lambda number: ("GET", self.files[number % len(self.files)], None),
            "old static": lambda number: ("GET", self.old_files[number % len(self.files)], None),
        }

    def watch(self, kind, path, response, body):
        if kind == "page" and response.status == 200:
            self.files = static_files(body.decode())
        if "immutable" in response.getheader("Cache-Control", ""):
            self.kept[path].add(body)

    @property
    def confused(self):
        """Return the addresses under which caches would keep files of two releases."""
        return [path for path, contents in self.kept.items() if len(contents) > 1]


# Interruptions


def heed_signals():
    """Undo what nohup and the `&` of a shell do, in case that the tests run under them."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Session:
    """`make deploy` in a terminal of its own, as in an SSH session."""

    def __init__(self, project, *arguments):
        self.project = project
        self.terminal, inside = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "make", "deploy", *arguments],
            cwd=project,
            env=ENVIRONMENT,
            preexec_fn=heed_signals,
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self.output, self.open = "", True

    def read(self):
        with suppress(OSError):  # at the end
            while self.open and select.select([self.terminal], [], [], 0)[0]:
                self.output += os.read(self.terminal, 65_536).decode(errors="replace")

    def ended(self):
        self.read()
        return self.process.poll() is not None

    def processes(self):
        """Return the command of each process that works in the project, by its number.

        Some may be in sessions of their own, or have lost their parent.
        """
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/cwd", self.project):
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    found[int(pid)] = command.replace("\0", " ")
        return found

    def runs(self, words):
        return any(words in command for command in self.processes().values())

    def program(self):
        """Return the number of the process of bin/deploy.

        Until a command that it starts has begun, its process looks the same, with a higher number.
        """
        found = self.processes().items()
        return min(pid for pid, command in found if command.startswith("python3 bin/deploy"))

    def hang_up(self):
        """Close the terminal: the system sends SIGHUP, and printing fails from now on."""
        self.open = False
        os.close(self.terminal)

    def interrupt(self, how):
        if how == "HUP":
            self.hang_up()
        elif how == "KILL alone":
            os.kill(self.program(), signal.SIGKILL)
        else:
            os.killpg(self.process.pid, signal.Signals[f"SIG{how}"])

    def finish(self):
        """Wait until the session has ended, with what it started; a full terminal would stop it."""
        wait_for(lambda: self.ended() and not self.processes(), 360)
        if self.open:
            self.hang_up()


@contextmanager
def unchanged(project):
    """Restore the files of a project after the block."""
    files = {p: p.read_bytes() for p in project.rglob("*") if p.is_file() and ".git" not in p.parts}
    try:
        yield
    finally:
        for path in project.rglob("*.py"):
            if path not in files:
                path.unlink()
        for path, content in files.items():
            path.write_bytes(content)
