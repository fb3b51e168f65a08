"""How the embedded engine is set up: its limits, and what the one user that it knows may do."""

import os
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

GIB: Final = 1 << 30
# max_thread_pool_free_size, old_parts_lifetime: threads that wait and parts that were merged away are held in memory; a minute
# is long enough for what the kernel has not written yet; cleanup_…: else it looks for them every five minutes where little
# is stored, and held 1,070 to 1,530 of them at 5,000 events/s instead of 740 to 840 (about 25 KB each)
# concurrent_part_removal_threshold: more than 100 parts to remove at once, as after a stall, started 128 threads, which then
# held 30 MiB for good; max_bytes_to_merge_…: a merge of more took two minutes and 100 MiB
# merge_max_…, max_compress_…, adaptive_write_buffer, max_read_buffer_size: of merges and reads, one a column;
# with these and its allocator's advice the engine held 403 to 444 MiB at 5,000 events/s (minutes 9 to 19), before 436 to 478
# min_bytes_for_wide_part: a part of 50 columns with two files each holds some 50 KB, one with a single file 14, and there were 55
# more of them each hour at 5,000 events/s; a scan of one column of 166 MB takes 8.1 ms instead of 7.5
# use_query_condition_cache: the auditor asks new conditions for ever (2 MB an hour, by the cache's own count)
# collect_hash_table_stats_…: of each new condition that is counted under, hash tables' sizes are kept (144 bytes each, for ever)
# compile_…: the same few questions are asked of little data for ever; machine code made for each is only kept
# merge_selector_base: most of an insert's cost is merging its part again and again; with 16 instead of 5 the engine merged
# 0.9 rows for each of 45 columns inserted in blocks of 5,000 instead of 2.2, for 15 parts instead of 8
PRIVILEGES: Final = (
    "SHOW", "SELECT", "INSERT", "ALTER", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "CREATE TEMPORARY TABLE",
    "CREATE FUNCTION", "DROP", "UNDROP TABLE", "TRUNCATE", "OPTIMIZE", "CHECK", "KILL QUERY", "dictGet",
    "SYSTEM MERGES", "SYSTEM TTL MERGES", "SYSTEM FLUSH", "SYSTEM SYNC REPLICA", "SYSTEM VIEWS",
)  # fmt: skip
"""Everything inside of the database; not: sources outside, dictionaries (they can run programs), backups, users, shutdown."""
ENGINES: Final = (
    "AggregatingMergeTree", "Buffer", "CoalescingMergeTree", "CollapsingMergeTree", "GenerateRandom",
    "GraphiteMergeTree", "Join", "Log", "MaterializedView", "Memory", "Merge", "MergeTree", "Null",
    "ReplacingMergeTree", "Set", "StripeLog", "SummingMergeTree", "TimeSeries", "TinyLog", "VersionedCollapsingMergeTree",
    "View",
)  # fmt: skip
READONLY_SETTINGS: Final = ("format_schema", "output_format_schema")
"""They name files."""

_CONFIG: Final = """<clickhouse>
  <users_config>{users}</users_config>
  <display_name>tickwire</display_name>
  <timezone>UTC</timezone>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{cache}</mark_cache_size>
  <index_mark_cache_size>{cache}</index_mark_cache_size>
  <primary_index_cache_size>{cache}</primary_index_cache_size>
  <background_pool_size>{merges}</background_pool_size>
  <max_thread_pool_free_size>16</max_thread_pool_free_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <merge_tree>
    <merge_selector_base>16</merge_selector_base>
    <min_bytes_for_wide_part>1073741824</min_bytes_for_wide_part>
    <old_parts_lifetime>60</old_parts_lifetime>
    <concurrent_part_removal_threshold>1000000</concurrent_part_removal_threshold>
    <max_bytes_to_merge_at_max_space_in_pool>1073741824</max_bytes_to_merge_at_max_space_in_pool>
    <cleanup_delay_period>5</cleanup_delay_period>
    <cleanup_delay_period_random_add>1</cleanup_delay_period_random_add>
    <max_cleanup_delay_period>10</max_cleanup_delay_period>
    <merge_max_block_size_bytes>2097152</merge_max_block_size_bytes>
    <max_compress_block_size>131072</max_compress_block_size>
    <min_columns_to_activate_adaptive_write_buffer>8</min_columns_to_activate_adaptive_write_buffer>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""
_USERS: Final = """<clickhouse>
  <profiles>
    <default>
      <async_insert>0</async_insert>
      <implicit_select>0</implicit_select>
      <use_query_condition_cache>0</use_query_condition_cache>
      <collect_hash_table_stats_during_aggregation>0</collect_hash_table_stats_during_aggregation>
      <collect_hash_table_stats_during_joins>0</collect_hash_table_stats_during_joins>
      <compile_expressions>0</compile_expressions>
      <compile_aggregate_expressions>0</compile_aggregate_expressions>
      <compile_sort_description>0</compile_sort_description>
      <max_read_buffer_size>262144</max_read_buffer_size>
      <max_memory_usage>{query_memory}</max_memory_usage>
      <constraints>{constraints}</constraints>
    </default>
  </profiles>
  <users>
    <default>
      <no_password/>
      <networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>{grants}</grants>
    </default>
  </users>
  <quotas><default/></quotas>
</clickhouse>
"""


def default_memory() -> int:
    """Bytes for the engine where nobody said: 40% of the machine's, between 1 and 8 GiB."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(8 * GIB, max(GIB, physical * 2 // 5))


def write_configuration(folder: Path, *, memory: int, allow_outside: bool) -> Path:
    """Write `config.xml` and `users.xml` into `folder`, readable by this user only; the path of the first.

    `memory`: bytes that the whole engine may take; one query gets half of it. `allow_outside`: grant everything.
    """
    users = folder / "users.xml"
    config = folder / "config.xml"
    grants = ["GRANT ALL ON *.*"] if allow_outside else _grants()
    constraints = "" if allow_outside else "".join(f"<{name}><readonly/></{name}>" for name in READONLY_SETTINGS)
    _write(
        users,
        _USERS.format(
            query_memory=memory // 2,
            constraints=constraints,
            grants="".join(f"<query>{grant}</query>" for grant in grants),
        ),
    )
    merges = max(2, os.cpu_count() or 2)
    _write(
        config,
        _CONFIG.format(users=escape(str(users)), memory=memory, cache=memory // 16, merges=merges),
    )
    return config


def _grants() -> list[str]:
    return [f"GRANT {', '.join(PRIVILEGES)} ON *.*", *(f"GRANT TABLE ENGINE ON {engine}" for engine in ENGINES)]


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
