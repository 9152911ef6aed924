"""obskit: observability and alerting for people who run a product alone or almost alone.

Importing this package costs nothing: no dependency, no thread, no file. The daemon is `obskit watch`.
"""

__version__ = "0.1.0.dev0"
