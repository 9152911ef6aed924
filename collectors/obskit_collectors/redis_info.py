"""Redis' INFO as redis_exporter names it: the fields that public rules and dashboards use."""

from __future__ import annotations

from typing import Final

from obskit_collectors.redis_readings import Readings, Talk

FIELDS: Final = {
    "aof_enabled": "redis_aof_enabled",
    "blocked_clients": "redis_blocked_clients",
    "connected_clients": "redis_connected_clients",
    "connected_slaves": "redis_connected_slaves",
    "evicted_keys": "redis_evicted_keys_total",
    "expired_keys": "redis_expired_keys_total",
    "keyspace_hits": "redis_keyspace_hits_total",
    "keyspace_misses": "redis_keyspace_misses_total",
    "maxclients": "redis_config_maxclients",
    "maxmemory": "redis_memory_max_bytes",
    "mem_fragmentation_ratio": "redis_mem_fragmentation_ratio",
    "rdb_last_save_time": "redis_rdb_last_save_timestamp_seconds",
    "rejected_connections": "redis_rejected_connections_total",
    "total_commands_processed": "redis_commands_processed_total",
    "total_connections_received": "redis_connections_received_total",
    "total_net_input_bytes": "redis_net_input_bytes_total",
    "total_net_output_bytes": "redis_net_output_bytes_total",
    "total_system_memory": "redis_total_system_memory_bytes",
    "uptime_in_seconds": "redis_uptime_in_seconds",
    "used_cpu_sys": "redis_cpu_sys_seconds_total",
    "used_cpu_user": "redis_cpu_user_seconds_total",
    "used_memory": "redis_memory_used_bytes",
    "used_memory_peak": "redis_memory_used_peak_bytes",
    "used_memory_rss": "redis_memory_used_rss_bytes",
}
"""INFO field → metric (redis_exporter:exporter/metrics.go)."""


def info_talk(readings: Readings) -> Talk:
    """Ask INFO; a server that refuses it alone is told."""
    (text,) = yield [("INFO",)]
    if isinstance(text, str):
        read_info(text, readings)
    else:
        readings.wrong.append(f"INFO: {text}")


def read_info(text: str, readings: Readings) -> None:
    """Add what INFO says; a field that a version or a provider leaves out is left out here too."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    for field, metric in FIELDS.items():
        value = _number(fields.get(field))
        if value is not None:
            readings.add(metric, value)
    if "rdb_last_bgsave_status" in fields:
        readings.add("redis_rdb_last_bgsave_status", float(fields["rdb_last_bgsave_status"] == "ok"))
    if "master_link_status" in fields:
        host, port = fields.get("master_host", ""), fields.get("master_port", "")
        readings.add(
            "redis_master_link_up", float(fields["master_link_status"] == "up"), master_host=host, master_port=port
        )
    info = {"role": fields.get("role", ""), "redis_version": fields.get("redis_version", "")}
    readings.add("redis_instance_info", 1.0, **info)
    for name, counts_text in fields.items():
        if name.startswith("db") and name[2:].isdigit():
            counts = dict(part.split("=", 1) for part in counts_text.split(",") if "=" in part)
            readings.add("redis_db_keys", _number(counts.get("keys")) or 0.0, db=name)
            readings.add("redis_db_keys_expiring", _number(counts.get("expires")) or 0.0, db=name)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
