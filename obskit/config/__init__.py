"""One obskit.yaml becomes one Config: every section validated by its room's own model, every error at once."""

from obskit.config.load import Config, check_files, load_config

__all__ = ["Config", "check_files", "load_config"]
