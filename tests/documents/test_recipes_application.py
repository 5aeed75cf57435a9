"""The recipe of CORS in a service with accounts: an application in Chromium, over HTTPS."""

import pytest
from browser import chromium
from figures import report
from https_proxy import https
from pages import pages
from projects import BARE, change
from recipes import follow_recipe
from stacks import temporary_stack

OPTIONS = BARE | {"use_postgres": True, "use_accounts": True}
EMAIL, PASSWORD = "ann@example.org", "correct horse battery"
# send() returns the status and the body of a response, or the name of an error.
PAGE = """<!doctype html><title>Application</title><script>
const JSON_ONLY = {"Accept": "application/json", "Content-Type": "application/json"};
async function send(method, path, headers, body, credentials = "include") {
    const options = {method, credentials, headers: {...JSON_ONLY, ...headers}};
    if (body) options.body = JSON.stringify(body);
    try {
        const response = await fetch("%s" + path, options);
        return [response.status, await response.json()];
    } catch (error) {
        return [error.name, null];
    }
}
async function logIn() {
    const [, form] = await send("GET", "/account/login", {});
    const token = {"X-CSRFToken": form.response.csrf_token};
    const user = {email: "%s", password: "%s"};
    const [status, body] = await send("POST", "/account/login?include_auth_token", token, user);
    csrf = {"X-CSRFToken": body.response.csrf_token};
    token_of_user = {"Authentication-Token": body.response.user?.authentication_token};
    return status;
}
</script>"""
NOTE = '{title: "A note", body: "of the application"}'


@pytest.fixture
def stack(engine, cookies_session):
    """Follow the recipe; the stack is not started yet."""
    with temporary_stack(cookies_session, OPTIONS, "application", 18960, slug="shop") as stack:
        follow_recipe(stack.project, "cors")
        settings = stack.project / "config/settings.py"
        change(settings, "\nWTF_CSRF_CHECK", "\nWTF_CSRF_SSL_STRICT = False\nWTF_CSRF_CHECK")
        yield stack


def start(stack, application):
    """Start the service for an application, with a user."""
    with (stack.project / ".env").open("a") as file:
        file.write(f"FRONTEND_ORIGIN={application}\nTRUSTED_PROXIES=1\n")
        file.write("TRUSTED_HOSTS=127.0.0.1,localhost\n")
    stack.up()
    create = ["flask", "users", "create", EMAIL, "--active", "--password", PASSWORD]
    stack.inside("web", *create)
    stack.sql("UPDATE users SET confirmed_at = now()")


@pytest.mark.weekly
@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_application_logs_in_over_https_with_a_session_and_with_a_token(stack, tmp_path):
    (profile := tmp_path / "profile").mkdir()
    with (
        pages(tmp_path, 0) as [port],
        https(port, tmp_path) as (application, _),
        https(port, tmp_path) as (other, _),
        https(stack.port, tmp_path) as (service, _),
        chromium(profile, "--ignore-certificate-errors") as new_tab,
    ):
        (tmp_path / "index.html").write_text(PAGE % (service, EMAIL, PASSWORD))
        start(stack, application)
        tab = new_tab()
        tab.open(f"{application}/index.html")
        before = tab.evaluate('send("GET", "/account/me")')
        logged_in = tab.evaluate("logIn()")
        _, user = tab.evaluate('send("GET", "/account/me")')
        changes = [tab.evaluate(f'send("POST", "/notes", {h}, {NOTE})') for h in ("csrf", "{}")]
        by_token = tab.evaluate('send("GET", "/account/me", token_of_user, null, "omit")')
        stranger = tab.evaluate('send("GET", "/account/me", {}, null, "omit")')
        tab.open(f"{other}/index.html")
        foreign = tab.evaluate('send("GET", "/account/me")')
        foreign_change = tab.evaluate(f'send("POST", "/notes", {{}}, {NOTE})')

    report(f"CORS with accounts over HTTPS: {logged_in}, {[status for status, _ in changes]}")
    assert (before[0], logged_in, user["email"]) == (401, 200, EMAIL)
    assert [status for status, _ in changes] == [201, 400]
    assert (by_token[0], by_token[1]["email"], stranger[0]) == (200, EMAIL, 401)
    assert foreign == foreign_change == ["TypeError", None]
    assert stack.sql("SELECT count(*) FROM notes") == ["1"]
