-- Every right that the role $1 has in this database and the role $2 has not, as text.
-- The has_*_privilege functions see ownership, grants to the role, to PUBLIC and through membership.
SELECT missing FROM (
  SELECT format('%s on %s %s', p, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::regclass) AS missing
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN unnest(CASE c.relkind WHEN 'S' THEN ARRAY['USAGE', 'SELECT', 'UPDATE'] ELSE $3::text[] END) p
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp)'
    AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege($1::oid, c.oid, p) AND NOT has_sequence_privilege($2::oid, c.oid, p)
        ELSE has_table_privilege($1::oid, c.oid, p) AND NOT has_table_privilege($2::oid, c.oid, p) END
  UNION ALL
  SELECT format('%s on column %s.%I', p, a.attrelid::regclass, a.attname)
  FROM pg_attribute a
  CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
  WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND a.attnum <> 0
    AND has_column_privilege($1::oid, a.attrelid, a.attnum, p) AND NOT has_column_privilege($2::oid, a.attrelid, a.attnum, p)
  UNION ALL
  SELECT format('EXECUTE on function %s', f.oid::regprocedure)
  FROM pg_proc f
  WHERE has_function_privilege($1::oid, f.oid, 'EXECUTE') AND NOT has_function_privilege($2::oid, f.oid, 'EXECUTE')
  UNION ALL
  SELECT format('%s on schema %I', p, n.nspname)
  FROM pg_namespace n
  CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) p
  WHERE n.nspname !~ '^pg_(toast|temp)'
    AND has_schema_privilege($1::oid, n.oid, p) AND NOT has_schema_privilege($2::oid, n.oid, p)
  UNION ALL
  SELECT format('%s on database %I', p, d.datname)
  FROM pg_database d
  CROSS JOIN unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) p
  WHERE has_database_privilege($1::oid, d.oid, p) AND NOT has_database_privilege($2::oid, d.oid, p)
  UNION ALL
  SELECT format('USAGE on type %s', t.oid::regtype)
  FROM pg_type t
  WHERE t.typacl IS NOT NULL
    AND has_type_privilege($1::oid, t.oid, 'USAGE') AND NOT has_type_privilege($2::oid, t.oid, 'USAGE')
  UNION ALL
  SELECT format('USAGE on foreign server %I', s.srvname)
  FROM pg_foreign_server s
  WHERE has_server_privilege($1::oid, s.oid, 'USAGE') AND NOT has_server_privilege($2::oid, s.oid, 'USAGE')
  UNION ALL
  SELECT format('membership in role %I', r.rolname)
  FROM pg_roles r
  WHERE r.oid <> $1::oid
    AND (pg_has_role($1::oid, r.oid, 'USAGE') AND NOT pg_has_role($2::oid, r.oid, 'USAGE')
      OR pg_has_role($1::oid, r.oid, 'MEMBER') AND NOT pg_has_role($2::oid, r.oid, 'MEMBER'))
) m
ORDER BY missing
