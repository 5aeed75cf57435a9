"""The pages of accounts in Chromium: with each front end, under the policy, and on a telephone."""

import os
import re
from pathlib import Path

import pairwise
import pytest
from browser import chromium
from figures import report
from projects import BARE
from smtp_server import mailbox
from stacks import temporary_stack, wait_for

PICTURES = os.environ.get("PICTURES")  # the directory for the pictures of docs/options.md
EMAIL, PASSWORD = "ann@example.org", "correct horse battery"
CODE = """
import sys
from passlib.totp import TOTP
print(TOTP(sys.argv[1]).generate().token)
"""


def stacks():
    """Return the answers for each stack; Turbo is the only front end that sends forms itself."""
    for number, frontend in enumerate(pairwise.questions()["frontend"]):
        options = {"use_postgres": True, "use_accounts": True, "frontend": frontend}
        tailwind = {"use_tailwind": number % 2 == 0}
        weekly = () if frontend == "hotwire" else pytest.mark.weekly
        yield pytest.param(BARE | options | tailwind, marks=weekly, id=frontend)


@pytest.fixture(scope="module")
def mails(bridge):
    with mailbox(bridge) as box:
        yield box


@pytest.fixture(params=stacks())
def site(request, mails, cookies_session):
    """Start a stack for production, which sends mails."""
    mails.messages.clear()
    with temporary_stack(cookies_session, request.param, "pages", 8213) as stack:
        with (stack.project / ".env").open("a") as settings:
            settings.write(f"MAIL_URL={mails.url.replace('smtp:', 'smtp+insecure:')}\n")
        stack.up()
        yield stack


class Person:
    """Somebody who looks at each page, and remembers those that are too wide for a telephone."""

    def __init__(self, site, tab, folder):
        self.site, self.tab, self.folder = site, tab, folder
        self.seen, self.violations = {}, []

    def open(self, path):
        self.tab.open(f"http://127.0.0.1:{self.site.port}{path}")
        self.look()

    def look(self, picture=None):
        """Measure a page at the width of a telephone, and draw it at both widths."""
        path = re.sub(r"/[\w.-]{40,}", "/...", self.tab.evaluate("location.pathname"))
        for name, width in (("telephone", 390), ("desktop", 720)):
            file = f"{picture}-{name}" if picture else "page"
            self.tab.picture(self.folder / f"{file}.png", width, 640)
            wide = self.tab.evaluate("document.documentElement.scrollWidth")
            self.seen[path, width] = max(wide, self.seen.get((path, width), 0))
        self.violations += self.tab.evaluate("window.violations ?? []")

    def send(self, then, picture=None, **fields):
        """Type into fields, send their form, and wait for a text on the page that follows."""
        for name, text in fields.items():
            self.tab.evaluate(f"document.querySelector('[name={name}]').value = ''")
            self.tab.evaluate(f"document.querySelector('[name={name}]').focus()")
            self.tab.type(text)
        self.tab.evaluate("document.querySelector('main [type=submit], main button').click()")
        wait_for(lambda: then in " ".join(self.tab.text("main").split()), 60)
        self.look(picture)


@pytest.mark.docker
@pytest.mark.xdist_group("accounts")
def test_person_uses_all_pages(site, mails, tmp_path):
    with chromium(tmp_path) as new_tab:
        person = Person(site, new_tab(), Path(PICTURES or tmp_path))
        register_and_log_in(person, mails)
        key = turn_second_factor_on(person)
        log_in_with_second_factor(person, key)
        person.open("/account/delete")
        person.send(then="account is deleted")

    report(f"{site.options['frontend']}: {len(person.seen) // 2} pages of accounts in Chromium")
    assert {page: wide for page, wide in person.seen.items() if wide > page[1]} == {}
    assert person.violations == []
    advice = "[DOM]"  # that the form for a new password should have a field with the user, too
    assert [line for line in person.tab.console if not str(line).startswith(advice)] == []


def register_and_log_in(person, mails):
    person.open("/account/register")
    short = {"password": "short", "password_confirm": "short"}
    person.send(then="at least 10", picture="register", email=EMAIL, **short)
    again = {"password": PASSWORD, "password_confirm": PASSWORD}
    person.send(then="Thank you", email=EMAIL, **again)
    wait_for(lambda: mails.to(EMAIL), 60)
    person.open(mails.link(EMAIL))
    for path in ("reset", "confirm", "login"):
        person.open(f"/account/{path}")
    person.send(then="Second factor", picture="account", email=EMAIL, password=PASSWORD)


def turn_second_factor_on(person):
    person.open("/account/tf-setup")
    person.send(then="Scan this picture", picture="second-factor")
    key = person.tab.text(".account code")
    size = person.tab.evaluate("document.querySelector('.qrcode svg').clientWidth")
    assert size > 100
    person.send(then="You successfully changed", code=code(person, key))
    return key


def log_in_with_second_factor(person, key):
    for path in ("/change", "/change-email", "/mf-recovery-codes", ""):
        person.open(f"/account{path}")
    person.send(then="Log in", picture="login")  # the form of this page logs out
    person.open("/account/login")
    person.send(then="Enter the code", email=EMAIL, password=PASSWORD)
    used = code(person, key)
    wait_for(lambda: code(person, key) != used, 60)  # each code works once
    person.send(then="Second factor: on", code=code(person, key))


def code(person, key):
    """Return the code that an authenticator app shows now."""
    return person.site.inside("web", "python", "-c", CODE, key.replace(" ", "")).strip()
