"""Front ends in Chromium: the home page works under its policy, and saved files are built again."""

import gzip
import json
import os
import re
import shutil
from urllib.parse import urljoin

import pairwise
import pytest
from browser import chromium
from figures import report
from projects import BARE, ENVIRONMENT, TEMPLATE, WHOLE, change, commands, run, running
from stacks import SLUG, temporary_stack, wait_for

docker = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]
PICTURES = os.environ.get("PICTURES")  # the directory for the pictures of docs/options.md
LOGO = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>'

LOOK = """
["body", "main", "h1", ".lead", "a"].map((name) => {
  const element = document.querySelector(name);
  const { color, backgroundColor, font } = getComputedStyle(element);
  return [name, color, backgroundColor, font, element.clientWidth];
})
"""
SEND_TOO_MUCH = """
const form = Object.assign(document.createElement("form"), { method: "post", action: "/" });
const text = Object.assign(document.createElement("textarea"), { name: "text" });
text.value = "x".repeat(2_000_000);
form.append(text);
document.body.append(form);
form.submit();
"""


def stacks():
    """Return the answers for each stack: by default, with nginx and with Tailwind in turns."""
    for number, frontend in enumerate(pairwise.questions()["frontend"]):
        for nginx in (True, False) if WHOLE else (number % 2 == 0,):
            tailwind = frontend == "none" or (number % 3 == 0) != (WHOLE and nginx)
            options = {"frontend": frontend, "use_nginx": nginx, "use_tailwind": tailwind}
            weekly = pytest.mark.weekly if frontend in ("none", "alpine", "vue", "jquery") else ()
            yield pytest.param(BARE | options, id=name_of(options), marks=weekly)


def name_of(options):
    chosen = [name for name in ("nginx", "tailwind") if options[f"use_{name}"]]
    return "-".join([options["frontend"], *chosen])


@pytest.fixture(scope="module")
def new_tab(tmp_path_factory):
    """Return a function that opens a tab of Chromium."""
    with chromium(tmp_path_factory.mktemp("chromium")) as open_tab:
        yield open_tab


@pytest.fixture(scope="module", params=stacks())
def site(request, engine, new_tab, cookies_session):
    """Start a stack for production; its stylesheet refers to a file that is not in the template."""
    with temporary_stack(cookies_session, request.param, "front", 8211) as stack:
        (stack.project / "assets/css/logo.svg").write_text(LOGO)
        with (stack.project / "assets/css/app.css").open("a") as style:
            style.write("\n.logo { background: url(./logo.svg); }\n")
        stack.up()
        yield stack


@pytest.fixture(scope="module")
def tab(site, new_tab):
    """Open the home page."""
    tab = new_tab()
    tab.open(f"http://127.0.0.1:{site.port}/")
    return tab


def greet(tab, name):
    """Type a name, press the button, and wait for the answer."""
    tab.click("#name")
    tab.type(name)
    tab.click(".example button")
    wait_for(lambda: tab.text(".answer") == f"Hello, {name}!", 60)


class TestSite:
    """The production stack of each front end."""

    pytestmark = docker

    def test_page_reacts_and_keeps_the_policy(self, site, tab):
        if site.options["frontend"] != "none":
            assert tab.text(".answer") == "Welcome to My Service."
            greet(tab, "Ada <b>")
        tab.open(f"http://127.0.0.1:{site.port}/nope")  # a page without the example
        own = (f"http://127.0.0.1:{site.port}/", "data:")
        policy = site.get("/").getheader("Content-Security-Policy")

        errors = [line for line in tab.console if "404" not in str(line)]
        assert errors == []
        assert tab.evaluate("window.violations ?? []") == []
        assert [url for url in tab.requested if not url.startswith(own)] == []
        assert any(url.endswith("app.js") or "app.js?" in url for url in tab.requested)
        assert "unsafe" not in policy

    def test_error_page_of_nginx_looks_like_that_of_the_service(self, site, tab):
        if not site.options["use_nginx"]:
            pytest.skip("the stack does not have use_nginx")
        tab.open(f"http://127.0.0.1:{site.port}/nope")
        of_the_service = tab.evaluate(LOOK)
        tab.evaluate(SEND_TOO_MUCH)
        wait_for(lambda: tab.text("h1") == "Content Too Large", 60)

        assert tab.evaluate(LOOK) == of_the_service
        assert tab.evaluate("window.violations ?? []") == []

    def test_image_contains_only_what_was_built(self, site):
        folder = f"/app/{SLUG}/static"
        files = site.inside("web", "find", folder, "-type", "f").split()
        built = {os.path.basename(file) for file in files if "/built/" in file}

        compressed = {name for name in built if name.endswith(".gz")}  # those that become smaller
        [logo] = {name for name in built if name.startswith("logo-")}
        assert built - compressed == {"app.css", "app.js", logo}
        assert "app.css.gz" in compressed
        assert re.fullmatch(r"logo-[A-Z0-9]{8}\.svg", logo)
        nothing = "! command -v node && ! command -v npm && ! test -e assets"
        assert site.inside("web", "sh", "-c", nothing) == ""

    def test_stylesheet_refers_to_a_name_with_a_digest(self, site):
        [address] = re.findall(r'href="(/static\S+app\.css\S*)"', site.get("/").text)
        [logo] = re.findall(r'url\("?(\S+logo-\w+\.svg)"?\)', site.get(address).text)

        assert site.get(urljoin(address, logo)).text == LOGO

    def test_stylesheet_contains_only_classes_that_a_page_uses(self, site):
        [address] = re.findall(r'href="(/static\S+app\.css\S*)"', site.get("/").text)
        classes = set(re.findall(r"\.((?:m|p)[tb]?-\d+)\{", site.get(address).text))

        templates = "".join(
            file.read_text() for file in (site.project / SLUG / "templates").glob("*.html")
        )
        assert bool(classes) is site.options["use_tailwind"]
        assert [name for name in classes if name not in templates] == []

    def test_table_of_bytes_is_correct(self, site, tab):
        page = site.get("/").text
        files = re.findall(r'(?:href|src)="(/static\S+app\.\S+)"', page)
        total = sum(len(gzip.compress(site.get(file).text.encode(), 9)) for file in files)
        rows = (TEMPLATE / "docs/options.md").read_text()
        row = re.search(rf"^\| `{site.options['frontend']}` \| ([\d.]+) \| ([\d.]+) \|", rows, re.M)

        report(f"{name_of(site.options)}: {len(files)} files, {total / 1000:.1f} kB compressed")
        documented = float(row[2 if site.options["use_tailwind"] else 1])
        assert abs(total / 1000 - documented) < 0.5 + documented / 20

    def test_page_fits_on_a_telephone(self, site, tab, tmp_path):
        tab.open(f"http://127.0.0.1:{site.port}/")
        if site.options["frontend"] != "none":
            greet(tab, "Ada")
        tab.picture(tmp_path / "telephone.png", 390, 640, "dark")

        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        name = "tailwind" if site.options["frontend"] == "none" else site.options["frontend"]
        tab.picture(f"{PICTURES or tmp_path}/{name}.png", 720, 600)


@pytest.fixture
def dev(engine, cookies_session):
    """Start the stack for development, without the lock of npm."""
    options = BARE | {"frontend": "vue", "use_nginx": True, "use_tailwind": True}
    with temporary_stack(cookies_session, options, "front-dev", 8212) as stack:
        (stack.project / "assets/package-lock.json").unlink()
        run("make", "up", cwd=stack.project)
        yield stack


@pytest.mark.docker
@pytest.mark.xdist_group("front end")
def test_saved_file_is_built_within_two_seconds(dev):
    changes = {
        "assets/js/app.js": ('"vue";', "app.js", '"vue";\nconsole.log("{}");'),
        "assets/js/Greeting.vue": ("Your name", "app.js", "{}"),
        "assets/css/style.css": ("47rem", "app.css", "{}.5rem"),
        f"{SLUG}/templates/home.html": ("mt-10", "app.css", "mt-10 pt-[{}px]"),
    }

    for number, (file, (old, built, new)) in enumerate(changes.items(), 7001):
        change(dev.project / file, old, new.format(number))
        address = f"/static/built/{built}"
        took = wait_for(lambda n=number, a=address: str(n) in dev.get(a).text, 60)
        report(f"{file}: built after {took:.1f} s")
        assert took < 10
    production = run("docker", "build", "--progress=plain", ".", cwd=dev.project, check=False)
    assert production.returncode != 0
    assert "If assets/package-lock.json is missing or outdated, run: make lock" in production.stdout


def test_error_in_a_script_is_one_message(bake):
    project = bake(**BARE | {"frontend": "vue", "use_tailwind": True})
    (project / "assets/js/bad.js").write_text("export const price = ;\n")
    change(project / "assets/js/app.js", '"vue";\n', '"vue";\nimport "./bad.js";\n')

    done = run("make", "check", cwd=project, check=False)

    assert done.returncode != 0
    assert done.stdout.count("[ERROR]") == 1
    assert '[ERROR] Unexpected ";"' in done.stdout
    assert "js/bad.js:1:21" in done.stdout
    assert "    at " not in done.stdout


def test_outdated_lock_fails_the_check(bake):
    project = bake(**BARE | {"frontend": "jquery"})
    change(project / "assets/package.json", '"jquery": "4.0.0"', '"jquery": "3.7.1"')

    outdated = run("make", "check", cwd=project, check=False)
    run("make", "lock", "assets", cwd=project)

    assert outdated.returncode != 0
    assert "are in sync" in outdated.stdout
    assert "3.7.1" in (project / "my_service/static/built/app.js").read_text()


@pytest.mark.skipif(not shutil.which("npm", path=ENVIRONMENT["PATH"]), reason="needs npm")
def test_package_is_added_and_files_are_watched_as_described(bake):
    project = bake(**BARE | {"frontend": "vue"})
    watch, add = commands((project / "docs/frontend.md").read_text())
    run("make", "assets", cwd=project)

    run(*add.replace("NAME", "dayjs").split(), cwd=project)
    with running(watch.split(), project):
        with (project / "assets/js/app.js").open("a") as script:
            script.write('import dayjs from "dayjs";\nwindow.clock = dayjs;\n')
        built = project / "my_service/static/built/app.js"
        wait_for(lambda: "clock" in built.read_text(), 60)

    packages = json.loads((project / "assets/package.json").read_text())["dependencies"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", packages["dayjs"])


def test_lock_does_not_name_a_registry(bake, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", os.devnull)
    lock = (bake(**BARE | {"frontend": "react"}) / "assets/package-lock.json").read_text()

    assert '"node_modules/react"' in lock
    assert "http" not in re.sub(r'"(url|license|funding)": .*', "", lock)
