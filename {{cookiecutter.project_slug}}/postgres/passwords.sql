-- Whenever Compose starts the database: the passwords that count are those of the environment.
\set ON_ERROR_STOP on
\getenv superuser POSTGRES_PASSWORD
\getenv service DATABASE_PASSWORD
-- A statement that is logged would be logged with its password.
SET log_statement = none;
SET log_min_error_statement = panic;
ALTER ROLE postgres PASSWORD :'superuser';
ALTER ROLE "{{ cookiecutter.project_slug }}" PASSWORD :'service';
