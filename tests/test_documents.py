"""What the documents say is what happens: commands, outputs, tables and links."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from conftest import (
    BARE,
    COMBINATIONS,
    ENVIRONMENT,
    FULL,
    TEMPLATE,
    commands,
    files_of,
    name_of,
    run,
)
from stacks import apart, free_containers, generate, wait_for

DOCUMENTS = sorted([*TEMPLATE.glob("*.md"), *TEMPLATE.glob("docs/*.md")])
GENERATED = "{{cookiecutter.project_slug}}/README.md"

# Where a command is run that neither this file nor, by its section, test_updates.py runs
RUN_BY = {
    "make up": ("tests/test_stack.py", '"make", "up"'),
    "make lint": (".ci/run", "make lint"),
    "make test": (".ci/run", "make test"),
    "make test-faults": ("tests/test_faults.py", "pytest.mark.faults"),
    "make check": ("tests/test_checks.py", '"make", "check"'),
    "make deploy": ("tests/test_faults.py", '"make", "deploy"'),
    "make bench": ("CONTRIBUTING.md", "by hand"),  # takes minutes
}


def sections(text):
    """The headings of the sections of a document."""
    return re.findall(r"^## (.+)$", text, re.M)


@pytest.mark.parametrize("document", [*DOCUMENTS, TEMPLATE / GENERATED], ids=lambda p: p.name)
def test_every_command_is_run_by_a_test(document):
    here = Path(__file__).read_text().partition("def test_links")[2]
    updates = "".join((TEMPLATE / "tests/test_updates.py").read_text().split())
    text = document.read_text().replace("{{ cookiecutter.project_slug }}", "deployed")
    typed = {
        heading: f'typed("{heading}")'.replace(" ", "") in updates for heading in sections(text)
    }
    run_there = {c for heading, done in typed.items() if done for c in commands(text, heading)}

    for command in set(commands(text)) - run_there:
        if command in RUN_BY:
            file, trace = RUN_BY[command]
            assert trace in (TEMPLATE / file).read_text(), command
        else:
            assert command in here or json.dumps(command)[1:-1] in here, command


@pytest.mark.parametrize("document", [*DOCUMENTS, TEMPLATE / GENERATED], ids=lambda p: p.name)
def test_every_target_that_is_named_is_there(document):
    makefiles = [TEMPLATE / "Makefile", TEMPLATE / GENERATED.replace("README.md", "Makefile")]
    known = {t for file in makefiles for t in re.findall(r"^([a-z-]+):", file.read_text(), re.M)}

    for typed in re.findall(
        r"\bmake ((?:-C \S+ )?[a-z-]+(?: [a-z-]+)*)(?=`| [a-z]+=|$)", document.read_text()
    ):
        named = re.sub(r"^-C \S+ ", "", typed).split()
        assert set(named) <= known, typed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = document.parent / path if path else document
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, target


def test_session_in_the_readme_looks_as_it_does(tmp_path):
    readme = (TEMPLATE / "README.md").read_text()
    session = readme.split("```console\n")[1].split("```")[0]
    assert session.startswith("$ cookiecutter gh:ORG/cookiecutter-flask-docker\n")
    typed = ["Corner Shop", "", "Sells milk.", *[""] * 7]

    shown = subprocess.run(
        [sys.executable, "-m", "cookiecutter", TEMPLATE, "--output-dir", tmp_path],
        input="\n".join(typed) + "\n",
        env=ENVIRONMENT | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
    ).stdout

    prompts = re.findall(r"^  (\[\d+/10\] .*?:)", session, re.M)
    assert len(prompts) == 6
    for prompt in prompts:
        assert prompt in shown
    _, begin, rest = session.split("…")[1].split("\n\n")[0].partition("corner_shop is ready:")
    assert begin
    assert begin + rest in shown
    assert "$ cd corner_shop\n$ make up\nUp: http://127.0.0.1:8080\n" in session
    answers = ask_as_curl(session, tmp_path / "corner_shop")
    assert answers == {
        "curl http://127.0.0.1:8080/readyz": None,
        """curl http://127.0.0.1:8080/notes -H 'Content-Type: application/json' -d '{"title": "Milk"}'""": None,
    }


def ask_as_curl(session, project):
    """For each command with curl, what is different in the session; its times are its own."""
    script = """
import json, sys
from corner_shop import create_app
client = create_app().test_client()
body = {"json": json.loads(sys.argv[2])} if len(sys.argv) > 2 else {}
text = client.open(sys.argv[1], method="POST" if body else "GET", **body).text
print("\\n" + text)
"""
    run("uv", "run", "flask", "--app=corner_shop", "migrate", cwd=project)
    different = {}
    for command in re.findall(r"^\$ (curl .+)", session, re.M):
        path = re.search(r"8080(/\S+)", command)[1]
        body = re.findall(r"-d '(.+)'", command)
        command_line = ["uv", "run", "python", "-c", script, path, *body]
        printed = run(*command_line, cwd=project, FLASK_DEBUG="1").stdout
        found, shown = first_object(printed), first_object(session.partition(command)[2])
        time = {"created_at": found.get("created_at")}
        different[command] = None if shown | time == found | time else found
    return different


def first_object(text):
    """The first JSON object in ``text`` that begins a line."""
    return json.JSONDecoder().raw_decode(text, text.index("\n{") + 1)[0]


def test_command_in_the_options_generates_what_it_says(tmp_path):
    [command] = commands((TEMPLATE / "docs/options.md").read_text())
    assert command == (
        'cookiecutter . --no-input project_name="Corner Shop" use_redis=false license=Apache-2.0'
    )

    run("sh", "-c", f"{command} --output-dir {tmp_path}", cwd=TEMPLATE)

    assert "Corner Shop" in (tmp_path / "corner_shop/README.md").read_text()
    assert "Apache License" in (tmp_path / "corner_shop/LICENSE").read_text()
    assert not (tmp_path / "corner_shop/corner_shop/cache.py").exists()


def defaults(project):
    """The default of each setting that ``config/settings.py`` gives as a constant."""
    text = (project / "config/settings.py").read_text()
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call.args[1].value
        for call in calls
        if ast.unparse(call.func).startswith("env.")
        and len(call.args) > 1
        and all(isinstance(argument, ast.Constant) for argument in call.args[:2])
    }


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
def test_table_of_settings_is_that_of_the_settings(bake, combination):
    project = bake(**combination)
    table = (
        (project / "README.md").read_text().split("| variable | default | |")[1].split("\n\n")[0]
    )
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    documented = {
        name: default.strip().split(";")[0].strip("` ")
        for names, value in rows
        for name, default in zip(
            re.findall(r"`(\w+)`", names), (value.split(",") * 2), strict=False
        )
    }
    example = re.findall(r"^(?:# )?([A-Z_]+)=", (project / ".env.example").read_text(), re.M)

    assert set(documented) == set(example)
    assert {"APP_ENV", "FLASK_DEBUG", "LOG_LEVEL", "PORT", "WEB_THREADS"} <= set(defaults(project))
    for name, default in defaults(project).items():
        plain = int(default) if isinstance(default, bool) else default
        assert plain is None or documented[name] == str(plain), name


@pytest.mark.parametrize(
    ("option", "title"),
    [("use_postgres", "PostgreSQL"), ("use_redis", "Redis"), ("use_nginx", "nginx")],
)
def test_readme_names_every_file_that_a_part_is_removed_from(bake, option, title):
    full, without = bake(**FULL), bake(**FULL | {option: False})
    section = (full / "README.md").read_text().partition("## Remove a part")[2]
    [paragraph] = [part for part in section.split("\n\n") if part.startswith(f"**{title}**")]

    different = {
        path
        for path in files_of(full)
        if not (without / path).exists()
        or (full / path).read_bytes() != (without / path).read_bytes()
    }

    named = re.findall(r"`([\w./]+)`", paragraph)
    missing = {
        p for p in different if not any(p == n or p.startswith(n.rstrip("/") + "/") for n in named)
    }
    assert missing <= {".env", "uv.lock"}


def test_database_may_be_elsewhere(bake, engine):
    project = bake(project_slug="shop")
    [paragraph] = re.findall(r"\*\*A database elsewhere\*\*.*", (project / "README.md").read_text())
    assert "delete the service `postgres` and its volume" in paragraph
    file = project / "compose.yaml"
    compose = yaml.safe_load(file.read_text())

    del compose["services"]["postgres"], compose["volumes"]
    environment = compose["services"]["web"]["environment"]  # which migrate shares
    environment["DATABASE_URL"] = "${DATABASE_URL:?is not set}"
    del environment["PGPASSWORD"]
    compose["services"]["migrate"] |= {"networks": ["front"], "depends_on": {}}
    file.write_text(yaml.dump(compose))

    url = "postgresql+psycopg://user:password@db.example/shop"
    config = "docker compose -f compose.yaml config --format=json".split()
    services = json.loads(run(*config, cwd=project, DATABASE_URL=url).stdout)["services"]
    assert services["web"]["environment"]["DATABASE_URL"] == url
    assert list(services["migrate"]["networks"]) == ["front"]
    refused = run(*config, cwd=project, check=False)
    assert "DATABASE_URL is missing a value: is not set" in refused.stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(command, project, **environment):
    """A program that goes on until the end of the block; what it prints is in its log."""
    log = project.parent / "log"
    with log.open("w") as output:
        program = subprocess.Popen(
            command,
            cwd=project,
            env=ENVIRONMENT | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Ctrl-C is ignored where the tests themselves run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield program, log
    finally:
        os.killpg(program.pid, signal.SIGINT)
        try:
            program.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            raise


@pytest.mark.parametrize("options", [FULL, BARE], ids=name_of)
def test_make_run_serves_the_first_page(bake, options):
    project = bake(project_slug="shop", project_name=f"Shop {name_of(options)}", **options)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    run("uv", "sync", "--quiet", cwd=project)

    with running("make run".split(), project, PORT=str(port)) as (program, log):
        wait_for(lambda: urlopen(f"{address}/livez", timeout=5).status == 200, 60)
        page = urlopen(address, timeout=5).read().decode()
        assert program.poll() is None

    assert f"<h1>Shop {name_of(options)}</h1>" in page
    assert f"Up: {address}, until you press Ctrl-C" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_model_is_changed_as_the_readme_says(bake):
    project = bake(project_slug="shop")
    typed = commands((project / "README.md").read_text(), "Change it")
    assert typed == ["make migrate", 'make revision m="add a column"', "make migrate"]
    models = project / "shop/database/models.py"
    column = "    stars: Mapped[int | None]\n"

    run("sh", "-c", typed[0], cwd=project)
    models.write_text(models.read_text().rstrip("\n") + "\n" + column)
    run("sh", "-c", typed[1], cwd=project)
    run("sh", "-c", typed[2], cwd=project)

    [new] = (project / "shop/database/migrations/versions").glob("*add_a_column*.py")
    assert 'batch_op.add_column(sa.Column("stars", sa.Integer(), nullable=True))' in new.read_text()
    run("make", "check", cwd=project)


@pytest.fixture(scope="module")
def production(engine, cookies_session):
    """A project with everything that was deployed as its README says."""
    project = generate(cookies_session, FULL, "deployed", 8192)
    try:
        for command in commands((project / "README.md").read_text(), "Deploy"):
            run("sh", "-c", command, cwd=project)
        yield project
    finally:
        free_containers(project)


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_load_is_measured_as_the_readme_says(production):
    measure, lift = commands((production / "README.md").read_text(), "Size it")
    assert measure == "make load users=16 seconds=20"
    assert lift == (
        "RATE_LIMIT=100000r/s RATE_BURST=10000 docker compose -f compose.yaml up --detach --wait --no-deps nginx"
    )

    run("sh", "-c", lift, cwd=production)
    printed = run("sh", "-c", measure.replace("seconds=20", "seconds=5"), cwd=production).stdout

    aggregated = next(line for line in printed.splitlines() if "Aggregated" in line)
    requests, failures = re.findall(r"\d+", aggregated)[:2]
    assert int(requests) > 100
    assert failures == "0"


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_backup_is_restored_as_the_readme_says(production):
    typed = commands((production / "README.md").read_text(), "Back up")
    psql = (
        "docker compose exec -T postgres psql --username=postgres --tuples-only deployed -c".split()
    )
    count = [*psql, "SELECT count(*) FROM notes"]
    insert = "INSERT INTO notes (title, body, created_at) VALUES ('kept', '', now())"
    run(*psql, insert, cwd=production)
    before = run(*count, cwd=production).stdout

    assert typed[0] == (
        "docker compose exec -T postgres pg_dump --username=postgres --format=custom deployed > backup.dump"
    )
    run("sh", "-c", typed[0], cwd=production)
    run(*psql, "DELETE FROM notes", cwd=production)
    later = "CREATE TABLE later (note int REFERENCES notes); ALTER TABLE later OWNER TO deployed"
    run(*psql, later, cwd=production)
    address = "http://127.0.0.1:8192/notes?page=1&after=loss"
    assert b"kept" not in urlopen(address, timeout=5).read()  # from now on this is in the cache
    assert typed[1:] == [
        "docker compose stop web",
        """docker compose exec -T postgres psql --username=postgres --command='DROP OWNED BY "deployed" CASCADE' deployed""",
        "docker compose exec -T postgres pg_restore --username=postgres --clean --if-exists --dbname=deployed < backup.dump",
        "docker compose restart redis",
        "docker compose start web",
    ]
    for command in typed[1:]:
        run("sh", "-c", command, cwd=production)

    assert run(*count, cwd=production).stdout == before
    wait_for(lambda: urlopen("http://127.0.0.1:8192/readyz", timeout=5).status == 200, 20)
    assert b"kept" in urlopen(address, timeout=5).read()
    assert "later" not in run(*psql, "SELECT tablename FROM pg_tables", cwd=production).stdout


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_dump_of_another_project_gets_the_owner_that_it_needs(production):
    start, restore = commands((TEMPLATE / "docs/coming-from.md").read_text())
    assert start == "docker compose up --detach --build --wait postgres"
    assert restore == (
        "docker compose exec -T postgres pg_restore --username=postgres --no-owner --role=shop --dbname=shop < old.dump"
    )
    run("sh", "-c", start, cwd=production)
    inside = "docker compose exec -T postgres"
    psql = f"{inside} psql --username=postgres --tuples-only --no-align"
    make_old = "CREATE TABLE old (id int); INSERT INTO old VALUES (7)"

    run("sh", "-c", f"{inside} createdb --username=postgres old", cwd=production)
    run("sh", "-c", f"{psql} old -c '{make_old}'", cwd=production)
    dump = f"{inside} pg_dump --username=postgres --format=custom old > old.dump"
    run("sh", "-c", dump, cwd=production)
    run("sh", "-c", restore.replace("shop", "deployed"), cwd=production)

    query = "SELECT tableowner, id FROM pg_tables, old WHERE tablename = $$old$$"
    assert run("sh", "-c", f"{psql} deployed -c '{query}'", cwd=production).stdout == "deployed|7\n"


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_changed_passwords_count_after_the_next_deployment(production):
    dotenv = production / ".env"
    old = dotenv.read_text()
    new = old.replace("REDIS_PASSWORD=", "REDIS_PASSWORD=new")
    dotenv.write_text(re.sub(r"(?m)^((?:DATA|POST)\w+)=.+$", r"""\1='n"w $ \\ \1'""", new))
    enter = (
        "docker compose exec -T -e PGPASSWORD postgres psql --host=127.0.0.1 deployed -c".split()
    )

    run("make", "deploy", cwd=production)

    wait_for(lambda: urlopen("http://127.0.0.1:8192/readyz", timeout=5).status == 200, 20)
    for role, name in (("deployed", "DATABASE_PASSWORD"), ("postgres", "POSTGRES_PASSWORD")):
        [password] = re.findall(f"(?m)^{name}=(.+)$", old)
        command = [*enter, "SELECT 1", f"--username={role}"]
        done = run(*command, cwd=production, check=False, PGPASSWORD=password)
        assert f'password authentication failed for user "{role}"' in done.stdout
    [password] = re.findall("(?m)^POSTGRES_PASSWORD='(.+)'$", dotenv.read_text())
    command = [*enter, "SELECT 1", "--username=postgres"]
    assert "1 row" in run(*command, cwd=production, PGPASSWORD=password).stdout


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_commands_in_the_sentences_of_the_readme_work(production):
    text = (production / "README.md").read_text()
    as_it_is_typed = {
        "docker stats": "docker stats --no-stream",
        "uv add NAME": "uv add itsdangerous",
        "uvx pre-commit install": "git init --quiet && uvx pre-commit install",
    }

    run("make", "migrate", cwd=production)
    written = dict.fromkeys(re.findall(r"(?<!`)`((?:docker|uv|uvx) [^`]+)`", text))
    for command in written:
        run("sh", "-c", as_it_is_typed.get(command, command), cwd=production)

    assert {"docker build .", "docker compose exec web flask seed", *as_it_is_typed} <= set(written)


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_demo_starts_a_service(engine, tmp_path):
    """``make demo`` in a clone whose tools are installed."""
    clone = tmp_path / "clone"
    ignored = shutil.ignore_patterns(".venv", ".git", "build", ".hypothesis", "*_cache")
    shutil.copytree(TEMPLATE, clone, ignore=ignored)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])

    mine = {"COMPOSE_PROJECT_NAME": apart("demo"), "HTTP_PORT": "8191"}
    try:
        done = run("make", "demo", cwd=clone, **mine)
        page = urlopen("http://127.0.0.1:8191").read().decode()
    finally:
        free_containers(clone / "build/my_service", **mine)

    assert "\nUp: http://127.0.0.1:8191\n" in done.stdout
    assert "<h1>My Service</h1>" in page
