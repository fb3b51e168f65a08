-- The user of a ClickHouse server as whom the API asks (TICKWIRE_SQL__URL): it may read our tables and views, and nothing else.
-- Run once as an administrator, after the first `tickwire score` has made the tables; database `tickwire` is TICKWIRE_CLICKHOUSE__DATABASE:
--   clickhouse-client --multiquery < infra/sql/reader.sql
-- It cannot log in until it is given a password:
--   ALTER USER tickwire_reader IDENTIFIED WITH sha256_password BY '…' HOST ANY

-- A request may ask for less, and for no more; 0 would be no limit at all, hence every MIN.
CREATE SETTINGS PROFILE IF NOT EXISTS tickwire_reader SETTINGS
    max_execution_time = 5 MIN 1 MAX 60,
    max_memory_usage = 268435456 MIN 1 MAX 2147483648,
    max_rows_to_read = 100000000 MIN 1 MAX 1000000000,
    max_bytes_to_read = 8589934592 MIN 1 MAX 107374182400,
    max_result_bytes = 33554432 MIN 1 MAX 33554432,
    max_threads = 1 MIN 1 MAX 4,
    max_subquery_depth = 50 MIN 1 MAX 50,
    allow_ddl = 0 READONLY,
    allow_introspection_functions = 0 READONLY,
    max_concurrent_queries_for_user = 8 READONLY,
    max_memory_usage_for_user = 2147483648 READONLY;

CREATE ROLE IF NOT EXISTS tickwire_reader SETTINGS PROFILE 'tickwire_reader';

GRANT SELECT ON tickwire.trades TO tickwire_reader;
GRANT SELECT ON tickwire.quotes TO tickwire_reader;
GRANT SELECT ON tickwire.news TO tickwire_reader;
GRANT SELECT ON tickwire.corrections TO tickwire_reader;
GRANT SELECT ON tickwire.features TO tickwire_reader;
GRANT SELECT ON tickwire.predictions TO tickwire_reader;
GRANT SELECT ON tickwire.outcomes TO tickwire_reader;
GRANT SELECT ON tickwire.outcome_scores TO tickwire_reader;
GRANT SELECT ON tickwire.challenger_scores TO tickwire_reader;
GRANT SELECT ON tickwire.model_changes TO tickwire_reader;
GRANT SELECT ON tickwire.alerts TO tickwire_reader;
GRANT SELECT ON tickwire.rule_changes TO tickwire_reader;
GRANT SELECT ON tickwire.bars TO tickwire_reader;
GRANT SELECT ON tickwire.ledger TO tickwire_reader;
GRANT SELECT ON tickwire.marks TO tickwire_reader;
GRANT SELECT ON tickwire.dead_letters TO tickwire_reader;
GRANT SELECT ON tickwire.bars_latest TO tickwire_reader;
GRANT SELECT ON tickwire.trades_corrected TO tickwire_reader;
GRANT SELECT ON tickwire.bars_as_known TO tickwire_reader;
GRANT SELECT ON tickwire.trades_as_known TO tickwire_reader;

CREATE QUOTA IF NOT EXISTS tickwire_reader KEYED BY user_name FOR INTERVAL 1 minute MAX queries = 1200, execution_time = 120 TO tickwire_reader;

CREATE USER IF NOT EXISTS tickwire_reader IDENTIFIED WITH no_password HOST NONE DEFAULT ROLE tickwire_reader;
GRANT tickwire_reader TO tickwire_reader;
