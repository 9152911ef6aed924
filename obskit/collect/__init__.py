"""Collectors: what one is, how it is found, and who keeps it running. What a vendor needs is all importable from here.

A collector is one module with one `KIND`: its settings, its factory and its doctor. Its loop pushes Batches into the
Feed it is given and tells the feed's Book of each read; everything else (restarts, a full store, own metrics) is ours.
"""

from obskit.collect.books import Book, TargetStatus
from obskit.collect.contract import Check, Collector, Kind, Source, failed, ok
from obskit.collect.feed import Feed
from obskit.collect.listening import Call, Listener, Said
from obskit.collect.once import Captured, run_once
from obskit.collect.overlap import Overlap
from obskit.collect.polling import PartialReadError, Poll, poll, within
from obskit.collect.resumed import Resumed
from obskit.collect.several import Several
from obskit.collect.snapshots import Reading, Snapshots
from obskit.collect.supervisor import Supervisor
from obskit.collect.table import BUILT_IN, PACKS, find_kind, kind_names
from obskit.collect.vendor_api import Ask, Reply, VendorApi

__all__ = [
    "BUILT_IN",
    "PACKS",
    "Ask",
    "Book",
    "Call",
    "Captured",
    "Check",
    "Collector",
    "Feed",
    "Kind",
    "Listener",
    "Overlap",
    "PartialReadError",
    "Poll",
    "Reading",
    "Reply",
    "Resumed",
    "Said",
    "Several",
    "Snapshots",
    "Source",
    "Supervisor",
    "TargetStatus",
    "VendorApi",
    "failed",
    "find_kind",
    "kind_names",
    "ok",
    "poll",
    "run_once",
    "within",
]
