"""Figures that tests measure: ``report()`` prints them during the run."""

FIGURES = []


def report(line):
    """Print ``line`` during the tests, even if they run in several processes."""
    FIGURES.append(line)


class Figures:
    """A plugin that prints the lines that tests report."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        for name, line in report.user_properties:
            if name == "figures":
                self.terminal.ensure_newline()
                self.terminal.write_line(f"  {line}")
