"""What ``make load`` asks the running service for; see https://docs.locust.io."""

from locust import FastHttpUser, task

PATHS = ["/"{{ ', "/notes"' if cookiecutter.use_postgres }}]


class Client(FastHttpUser):
    """Somebody who asks again as soon as there is an answer."""

    @task
    def ask(self) -> None:
        """Ask for everything, once."""
        for path in PATHS:
            self.client.get(path)
