-- Prints the revision of the database and the number of rows of each table, as comments of SQL.
-- bin/restore compares them with the first lines of a backup: after a change here, it refuses
-- earlier backups.
SELECT '-- revision ' || version_num FROM alembic_version;
SELECT format(
    'SELECT %L || count(*) FROM %I.%I', '-- rows of ' || tablename || ': ', schemaname, tablename
)
FROM pg_tables
WHERE schemaname <> 'information_schema' AND schemaname NOT LIKE 'pg\_%'
ORDER BY 1 \gexec
