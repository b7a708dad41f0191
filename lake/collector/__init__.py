"""The collector SDK: what runs on an employee's computer. It imports no engine, and no database.

``Collector`` records events under a lease into an encrypted spool and sends them; docs/collector.md.
"""

from lake.collector.collector import Collector
from lake.collector.keeper import Hook
from lake.collector.settings import CollectorSettings, read_settings

__all__ = ["Collector", "CollectorSettings", "Hook", "read_settings"]
