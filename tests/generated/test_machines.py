"""Other machines: file systems, versions of Python, networks and ways to run cookiecutter."""

import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import trustme
from projects import BARE, TEMPLATE, config_in, files_of, run, type_in
from stacks import unique_name

SLUG = "{{cookiecutter.project_slug}}"
OF_OPTIONS = "assets assets/css caddy deploy/kubernetes grafana nginx postgres prometheus".split()
RESERVED = {"con", "prn", "aux", "nul"}
RESERVED |= {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}


def tracked():
    """Return the mode and path of each file of the template."""
    lines = run("git", "ls-files", "-s", "-z", cwd=TEMPLATE).stdout.split("\0")
    return [(line.split()[0], line.split("\t")[1]) for line in lines if line]


def unportable(paths):
    """Return names that are invalid on some file system, or equal to another name."""
    parts = {part for path in paths for part in path.split("/")}
    bad = {p for p in parts if re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', p)}
    bad |= {p for p in parts if p.partition(".")[0].lower() in RESERVED}
    folded = {}
    for path in paths:
        folded.setdefault(path.lower(), []).append(path)
    return bad | {path for same in folded.values() if len(same) > 1 for path in same}


def test_file_names_are_valid_on_all_file_systems():
    assert unportable([path for _, path in tracked()]) == set()
    assert unportable(["a/CON.txt", "b/x:y", "c/A", "c/a"]) == {"CON.txt", "x:y", "c/A", "c/a"}


PROGRAMS = {
    f"bin/{name}"
    for name in "audit backup deploy drill env failures healthcheck restore rollout".split()
}


def test_only_programs_of_the_template_are_executable_and_no_file_is_a_link():
    modes = {mode: set() for mode, _ in tracked()}
    for mode, path in tracked():
        modes[mode].add(path.removeprefix("{{cookiecutter.project_slug}}/"))

    assert set(modes) == {"100644", "100755"}
    assert modes["100755"] == {".ci/elsewhere", ".ci/run", *PROGRAMS}


def test_every_library_has_a_wheel_for_arm64(bake):
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


def test_home_directory_can_be_read_only(tmp_path):
    """With --config-file, cookiecutter stores its own files elsewhere: see docs/options.md."""
    (tmp_path / "file").write_text("")
    home = {"HOME": str(tmp_path / "file"), "UV_CACHE_DIR": str(tmp_path / "uv")}

    done = type_in(tmp_path, "--config-file", config_in(tmp_path), **home)

    assert done.returncode == 0, done.stdout
    assert (tmp_path / "out/my_service/.env").exists()


def test_template_can_be_a_zip_file(tmp_path):
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
    # The archive contains no executable files: the Makefile runs them with their interpreters.
    assert not (project / "bin/env").stat().st_mode & stat.S_IXUSR
    printed = run("make", "--dry-run", "--always-make", "deploy", "env", cwd=project).stdout
    lines = {line.strip() for line in printed.splitlines()}
    assert {"python3 bin/deploy", "python3 bin/env"} <= lines


def test_project_without_hooks_runs(tmp_path):
    answers = [f"{name}={value}" for name, value in BARE.items()]
    type_in(tmp_path, "--accept-hooks", "no", *answers)
    project = tmp_path / "out/my_service"
    assert not (project / ".env").exists()
    assert (project / "my_service/core/cache.py").exists()
    page = 'from my_service import create_app; print(create_app().test_client().get("/").status)'

    run("make", "env", "uv.lock", cwd=project)
    printed = run("uv", "run", "--quiet", "python", "-c", page, cwd=project).stdout
    assert printed.splitlines()[-1] == "200 OK"


def test_existing_directory_is_not_changed(tmp_path):
    existing = tmp_path / "out/my_service"
    existing.mkdir(parents=True)
    (existing / "mine").write_text("mine")

    done = type_in(tmp_path)

    assert done.returncode != 0
    assert 'my_service" directory already exists' in done.stdout
    assert files_of(existing) == {"mine"}


def test_files_of_the_owner_stay_when_a_project_is_generated_again(tmp_path):
    """All options are declined; each folder of theirs holds a file of the owner."""
    folders = {path.split("/", 1)[1].rpartition("/")[0] for _, path in tracked() if SLUG in path}
    rendered = {folder.replace(SLUG, "my_service") for folder in folders} - {""}
    kept = {f"{folder}/mine.txt" for folder in rendered if "assets/variants/" not in folder}
    assert {f"{folder}/mine.txt" for folder in OF_OPTIONS} <= kept
    answers = [f"{name}={value}" for name, value in BARE.items()]
    type_in(tmp_path, *answers)
    project = tmp_path / "out/my_service"
    for file in kept:
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("mine")
    before = files_of(project)

    done = type_in(tmp_path, "--overwrite-if-exists", *answers)

    assert done.returncode == 0, done.stdout
    assert files_of(project) == before
    assert kept <= before


@pytest.mark.parametrize("size", ["8k", "300k", "1500k"])
def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, size):
    """The disk is a small file system in memory, which exists in this command only."""
    out = tmp_path / "out"
    out.mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs out && cookiecutter {TEMPLATE} --no-input"
    script = f"{mount} --output-dir out; echo exit $?; ls -A out"
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "tmpfs", out]).returncode:
        pytest.skip("cannot mount a file system")

    printed = run(*private, "sh", "-c", script, cwd=tmp_path).stdout

    assert re.search(r"(?m)^The disk has \d+ kB left, and the project needs 2000 kB\.$", printed)
    assert "No space left" not in printed
    assert re.fullmatch("exit [1-9]\\d*", printed.splitlines()[-1])  # and no directory after it


def test_outdated_uv_writes_no_lock(tmp_path):
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


CORPORATION = unique_name("corporation")


@pytest.fixture
def corporation(engine, tmp_path):
    """Start a package index over HTTPS, with a certificate of a private authority."""
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
    options = [f"--name={CORPORATION}", f"--network={CORPORATION}", "--network-alias=index.test"]
    options += ["--detach", f"--volume={tls}:/tls:ro", "--workdir=/tmp"]
    run("docker", "run", *options, "python:3.14-slim-trixie", "python", "-c", SERVER, cwd=tls)
    yield tls / "ca.pem"
    for command in clean:
        run(*command, cwd=tls)


@pytest.mark.docker
@pytest.mark.xdist_group("docker-untimed")
def test_image_trusts_the_certificate_of_a_company(bake, corporation):
    project = bake(project_slug="shop", **BARE)
    document = (TEMPLATE / "docs/options.md").read_text()
    snippet = document.split("```dockerfile\n")[1].split("```")[0]
    dockerfile = project / "Dockerfile"
    [start] = re.findall(r"^FROM \S+ AS base\n", dockerfile.read_text(), re.M)
    ask = "uv pip install --target /tmp/x --index-url https://index.test/simple nothing"

    def build_and_ask():
        image = run("docker", "build", "--quiet", "--target=base", ".", cwd=project).stdout.strip()
        options = ["--rm", f"--network={CORPORATION}", "--env=UV_HTTP_RETRIES=0"]
        where = [*options, image, "sh", "-c", ask]
        return run("docker", "run", *where, cwd=project, check=False).stdout

    before = build_and_ask()
    shutil.copy(corporation, project / "config/corporate.crt")
    dockerfile.write_text(dockerfile.read_text().replace(start, start + snippet))
    after = build_and_ask()

    assert "certificate" in before
    assert "certificate" not in after
    assert "nothing was not found" in after
