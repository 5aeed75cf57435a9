"""Other machines: file systems, folders, Pythons, networks and ways to run cookiecutter."""

import re
import shutil
import stat
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import trustme
from conftest import BARE, EACH, TEMPLATE, config_in, files_of, run, type_in
from stacks import apart

RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}


def tracked():
    """The files of the template: mode and path."""
    lines = run("git", "ls-files", "-s", "-z", cwd=TEMPLATE).stdout.split("\0")
    return [(line.split()[0], line.split("\t")[1]) for line in lines if line]


def unportable(paths):
    """Names that some file system refuses, or takes for another."""
    parts = {part for path in paths for part in path.split("/")}
    bad = {p for p in parts if re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', p)}
    bad |= {p for p in parts if p.partition(".")[0].lower() in RESERVED}
    folded = {}
    for path in paths:
        folded.setdefault(path.lower(), []).append(path)
    return bad | {path for same in folded.values() if len(same) > 1 for path in same}


def test_names_of_the_template_suit_every_file_system():
    assert unportable([path for _, path in tracked()]) == set()
    assert unportable(["a/CON.txt", "b/x:y", "c/A", "c/a"]) == {"CON.txt", "x:y", "c/A", "c/a"}


PROGRAMS = {"bin/deploy", "bin/env", "bin/healthcheck"}


def test_only_programs_of_the_template_are_executable_and_no_file_is_a_link():
    modes = {mode: set() for mode, _ in tracked()}
    for mode, path in tracked():
        modes[mode].add(path.removeprefix("{{cookiecutter.project_slug}}/"))

    assert set(modes) == {"100644", "100755"}
    assert modes["100755"] == {".ci/elsewhere", ".ci/run", *PROGRAMS}


@pytest.mark.parametrize("options", EACH)
def test_only_programs_of_a_project_are_executable_and_no_file_is_a_link(bake, options):
    project = bake(**options)
    paths = list(project.rglob("*"))

    assert unportable([str(path.relative_to(project)) for path in paths]) == set()
    assert [path for path in paths if path.is_symlink()] == []
    executable = [p for p in paths if p.is_file() and p.stat().st_mode & stat.S_IXUSR]
    programs = PROGRAMS if options["use_nginx"] else PROGRAMS - {"bin/deploy"}
    assert {str(path.relative_to(project)) for path in executable} == programs


@pytest.mark.parametrize("options", EACH)
def test_nothing_names_a_processor(bake, options):
    project = bake(**options)
    for path in files_of(project):
        if path not in {".env", "uv.lock"}:
            text = (project / path).read_text()
            assert not re.search(r"amd64|x86|arm64|aarch64|platform[=:]", text), path


def test_every_library_comes_built_for_arm64(bake):
    lock = tomllib.loads((bake() / "uv.lock").read_text())
    built = [p for p in lock["package"] if any("x86_64" in w["url"] for w in p.get("wheels", []))]

    def suits(wheel, version):
        tags = rf"-({version}|py3|cp3\d+)-(none|abi3|{version})-(any|manylinux\S*aarch64)"
        return re.search(tags, wheel["url"])

    missing = [
        (package["name"], version)
        for package in built
        for version in ("cp314", "cp313", "cp312")
        if not any(suits(wheel, version) for wheel in package["wheels"])
    ]
    assert "psycopg-binary" in {package["name"] for package in built}
    assert missing == []


def test_folder_may_have_spaces_and_umlauts(tmp_path):
    folder = tmp_path / "my projects (ü)"
    folder.mkdir()

    done = run(
        "cookiecutter", TEMPLATE, "--no-input", *(f"{k}={v}" for k, v in BARE.items()), cwd=folder
    )
    assert "my_service is ready" in done.stdout

    run("make", "check", cwd=folder / "my_service")


def test_home_that_cannot_be_written_is_no_obstacle_with_a_config(tmp_path):
    """As docs/options.md says: cookiecutter keeps its own files where the configuration says."""
    (tmp_path / "file").write_text("")
    home = {"HOME": str(tmp_path / "file"), "UV_CACHE_DIR": str(tmp_path / "uv")}

    done = type_in(tmp_path, "--config-file", config_in(tmp_path), **home)

    assert done.returncode == 0, done.stdout
    assert (tmp_path / "out/my_service/.env").exists()


def test_template_may_be_a_zip_file(tmp_path):
    archive = tmp_path / "template.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.mkdir("cookiecutter-flask-docker")
        for _, path in tracked():
            if (TEMPLATE / path).is_file():
                zipped.write(TEMPLATE / path, f"cookiecutter-flask-docker/{path}")

    done = type_in(tmp_path, template=archive)

    assert done.returncode == 0, done.stdout
    project = tmp_path / "out/my_service"
    assert "create_app" in (project / "my_service/__init__.py").read_text()
    # The archive has no executable files: the Makefile calls them through their interpreters.
    assert not (project / "bin/env").stat().st_mode & stat.S_IXUSR
    printed = run("make", "--dry-run", "--always-make", "deploy", "env", cwd=project).stdout
    assert {"sh bin/deploy", "python3 bin/env"} <= set(printed.splitlines())


def test_project_without_hooks_runs(tmp_path):
    answers = [f"{name}={value}" for name, value in BARE.items()]
    type_in(tmp_path, "--accept-hooks", "no", *answers)
    project = tmp_path / "out/my_service"
    assert not (project / ".env").exists()
    assert (project / "my_service/cache.py").exists()
    page = 'from my_service import create_app; print(create_app().test_client().get("/").status)'

    run("make", "env", "uv.lock", cwd=project)
    printed = run("uv", "run", "--quiet", "python", "-c", page, cwd=project).stdout
    assert printed.splitlines()[-1] == "200 OK"


def test_replay_generates_the_same_again(tmp_path):
    config = config_in(tmp_path)
    type_in(tmp_path, "project_slug=shop", "use_redis=false", "--config-file", config)
    first, again = tmp_path / "first", tmp_path / "out/shop"
    shutil.move(again, first)

    replay = ["--replay", "--config-file", config, "--output-dir", tmp_path / "out"]
    run("cookiecutter", TEMPLATE, *replay, cwd=tmp_path)

    assert files_of(first) == files_of(again)
    different = {p for p in files_of(first) if (first / p).read_bytes() != (again / p).read_bytes()}
    assert different <= {".env", "uv.lock"}
    assert not (again / "shop/cache.py").exists()


def test_folder_that_exists_is_left_alone(tmp_path):
    existing = tmp_path / "out/my_service"
    existing.mkdir(parents=True)
    (existing / "mine").write_text("mine")

    done = type_in(tmp_path)

    assert done.returncode != 0
    assert 'my_service" directory already exists' in done.stdout
    assert files_of(existing) == {"mine"}


def test_uv_that_is_too_old_leaves_the_lock_to_the_owner(tmp_path):
    old = tmp_path / "bin/uv"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'error: unexpected argument' >&2\nexit 2\n")
    old.chmod(0o755)
    program = Path(sys.executable).with_name("cookiecutter")

    command = [program, TEMPLATE, "--no-input", "--output-dir", tmp_path / "out"]
    done = run(*command, cwd=tmp_path, PATH=str(old.parent))

    assert done.stdout.splitlines()[-1].endswith("run `make lock`.")
    assert not (tmp_path / "out/my_service/uv.lock").exists()


SERVER = """
import http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/server.pem")
server = http.server.HTTPServer(("", 443), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


CORPORATION = apart("corporation")


@pytest.fixture
def corporation(engine, tmp_path):
    """An index behind HTTPS, with a certificate that nobody but its authority vouches for."""
    tls = tmp_path / "tls"
    tls.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tls / "ca.pem")
    issued = authority.issue_cert("index.test")
    issued.private_key_and_cert_chain_pem.write_to_path(tls / "server.pem")
    clean = f"docker rm --force {CORPORATION}".split(), f"docker network rm {CORPORATION}".split()
    for command in clean:
        run(*command, cwd=tls, check=False)
    run("docker", "network", "create", CORPORATION, cwd=tls)
    options = [
        "--detach",
        f"--name={CORPORATION}",
        f"--network={CORPORATION}",
        "--network-alias=index.test",
    ]
    serve = ["python:3.14-slim-trixie", "python", "-c", SERVER]
    run("docker", "run", *options, f"--volume={tls}:/tls:ro", "--workdir=/tmp", *serve, cwd=tls)
    yield tls / "ca.pem"
    for command in clean:
        run(*command, cwd=tls)


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_image_trusts_the_certificate_of_a_corporation(bake, corporation):
    project = bake(project_slug="shop", **BARE)
    document = (TEMPLATE / "docs/options.md").read_text()
    snippet = document.split("```dockerfile\n")[1].split("```")[0]
    dockerfile = project / "Dockerfile"
    [start] = re.findall(r"^FROM \S+ AS base\n", dockerfile.read_text(), re.M)
    ask = "uv pip install --target /tmp/x --index-url https://index.test/simple nothing"

    def build_and_ask():
        image = run("docker", "build", "--quiet", "--target=base", ".", cwd=project).stdout.strip()
        where = ["--rm", f"--network={CORPORATION}", image, "sh", "-c", ask]
        return run("docker", "run", *where, cwd=project, check=False).stdout

    before = build_and_ask()
    shutil.copy(corporation, project / "config/corporate.crt")
    dockerfile.write_text(dockerfile.read_text().replace(start, start + snippet))
    after = build_and_ask()

    assert "certificate" in before
    assert "certificate" not in after
    assert "nothing was not found" in after
