-- Runs once, when the volume is new: a role that owns the database of the service and nothing else.
CREATE ROLE "{{ cookiecutter.project_slug }}" LOGIN;
ALTER DATABASE "{{ cookiecutter.project_slug }}" OWNER TO "{{ cookiecutter.project_slug }}";
REVOKE ALL ON DATABASE "{{ cookiecutter.project_slug }}" FROM PUBLIC;
