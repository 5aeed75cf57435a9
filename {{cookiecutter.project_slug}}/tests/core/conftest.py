"""The application of the tests of core/: nothing that you add to yours can make them fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }} import core

TEMPLATES = str(Path(__file__).parent / "templates")


@pytest.fixture
def factory() -> Callable[..., Flask]:
    """Return what creates an application that has only what is in core/."""

    def create(settings: dict[str, Any]) -> Flask:
        app = Flask("{{ cookiecutter.project_slug }}", template_folder=TEMPLATES)
        app.config.from_object("config.settings")
        app.config.from_mapping(settings)
        core.init_app(app)
        return app

    return create
