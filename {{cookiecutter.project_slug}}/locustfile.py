"""The requests of ``make load``; see https://docs.locust.io."""

from locust import FastHttpUser, task

PATHS = ["/"{{ ', "/notes"' if cookiecutter.use_postgres }}]


class Client(FastHttpUser):
    """A client that sends the next request as soon as it has the response."""

    @task
    def ask(self) -> None:
        """Request each path once."""
        for path in PATHS:
            self.client.get(path)
