"""The service with a list of notes that is not cached."""

from bench import create_app, notes

notes.newest = notes.newest.uncached
app = create_app()
