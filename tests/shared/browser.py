"""A headless Chromium, which tests control with the DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from simple_websocket import Client
from stacks import wait_for

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
# Without these, Chromium as root does not start, and requests updates.
SWITCHES = """
    --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-extensions
    --disable-background-networking --disable-component-update --disable-dev-shm-usage
    --remote-debugging-port=0 --remote-allow-origins=*
""".split()
VIOLATIONS = "addEventListener('securitypolicyviolation', (e) => (window.violations ??= []).push(e.blockedURI))"


class Tab:
    """A page, with what it has requested and written to the console."""

    def __init__(self, address):
        self.socket = Client.connect(address)
        self.numbers = itertools.count(1)
        self.requested, self.console = [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=VIOLATIONS)

    def send(self, method, **parameters):
        """Send a command, and return its result; remember the events before it."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(self.socket.receive(timeout=30))).get("id") != number:
            self.remember(message.get("method"), message.get("params"))
        assert "error" not in message, message
        return message["result"]

    def remember(self, event, details):
        """Keep requests, and everything that the console shows."""
        if event == "Network.requestWillBeSent":
            self.requested.append(details["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.console.append([argument.get("value") for argument in details["args"]])
        elif event == "Runtime.exceptionThrown":
            self.console.append(details["exceptionDetails"])
        elif event == "Log.entryAdded":
            self.console.append(details["entry"]["text"])

    def evaluate(self, expression):
        """Return the value of an expression of JavaScript."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.send("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, address):
        """Load a page, until its modules have run."""
        self.send("Page.navigate", url=address)
        wait_for(lambda: self.evaluate("document.readyState") == "complete", 60)

    def click(self, selector):
        """Press and release the mouse button on an element."""
        box = f"document.querySelector('{selector}').getBoundingClientRect().toJSON()"
        where = self.evaluate(box)
        middle = {"x": where["x"] + where["width"] / 2, "y": where["y"] + where["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            press = {"type": kind, "button": "left", "clickCount": 1, **middle}
            self.send("Input.dispatchMouseEvent", **press)

    def type(self, text):
        """Type into the element that has the focus."""
        self.send("Input.insertText", text=text)

    def text(self, selector):
        """Return the text of an element, or an empty text if it is missing."""
        return self.evaluate(f"document.querySelector('{selector}')?.textContent?.trim() ?? ''")

    def picture(self, file, width, height, scheme="light"):
        """Write a picture of the page on a screen of this size."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)
        data = self.send("Page.captureScreenshot", format="png")["data"]
        Path(file).write_bytes(base64.b64decode(data))


@contextmanager
def chromium(profile, *switches):
    """Start Chromium with an empty profile, and return a function that opens a tab."""
    if not PROGRAM:
        pytest.skip("Chromium is missing: apt-get install chromium")
    port = profile / "DevToolsActivePort"
    command = [PROGRAM, *SWITCHES, *switches, f"--user-data-dir={profile}", "about:blank"]
    with (profile / "log").open("w") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: port.exists() and port.read_text().count("\n"), 30)
        number, path = port.read_text().split("\n")
        yield lambda: new_tab(number, path)
    finally:
        os.killpg(program.pid, 15)
        program.wait(timeout=20)
        time.sleep(0.2)


def new_tab(port, path):
    """Open a tab without the cookies and the cache of others."""
    whole = Client.connect(f"ws://127.0.0.1:{port}{path}")

    def ask(number, method, **parameters):
        whole.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(whole.receive(timeout=30))).get("id") != number:
            pass
        return message["result"]

    context = ask(1, "Target.createBrowserContext")["browserContextId"]
    target = ask(2, "Target.createTarget", url="about:blank", browserContextId=context)
    return Tab(f"ws://127.0.0.1:{port}/devtools/page/{target['targetId']}")
