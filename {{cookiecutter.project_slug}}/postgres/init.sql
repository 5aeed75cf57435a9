-- The image runs this script once, when the volume is new. It creates the role of the service.
\getenv password DATABASE_PASSWORD
CREATE ROLE "{{ cookiecutter.project_slug }}" LOGIN PASSWORD :'password';
ALTER DATABASE "{{ cookiecutter.project_slug }}" OWNER TO "{{ cookiecutter.project_slug }}";
REVOKE ALL ON DATABASE "{{ cookiecutter.project_slug }}" FROM PUBLIC;
