"""The daemon: every part built, started in order, reloaded in place, and stopped so that nothing decided is lost."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from obskit import __version__
from obskit.clock import Clock, worked_s
from obskit.collect import Source, Supervisor
from obskit.collect.feed import Feed
from obskit.collect.table import find_kind
from obskit.config import Config, load_config
from obskit.config.alertmanager import original
from obskit.config.sections import parse_listen
from obskit.errors import CollectorError, ObskitError
from obskit.grouping.keeper import Keeper
from obskit.ingest.reception import Reception
from obskit.logql.engine import Engine as LogQL
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY, Gauge
from obskit.notify import build_hooks
from obskit.notify.base import ACTION_KIND, DIGEST_KIND, Hook
from obskit.outbound import httpx, trust
from obskit.outbox import Handler, Outbox
from obskit.promql.engine import Engine as PromQL
from obskit.promql.selection import Limits
from obskit.routing.dispatch import Dispatcher
from obskit.routing.tree import Route
from obskit.rules.backdrop import Backdrop
from obskit.rules.blind import BlindRules
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.log_links import LogLinks
from obskit.rules.log_windows import LogWindows
from obskit.rules.runner import Runner
from obskit.rules.sample_lines import SampleLines
from obskit.store.cold.settings import ColdSettings
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.watch import systemd
from obskit.watch.changes import changed, signature
from obskit.watch.life_signs import LifeSigns
from obskit.watch.overview import Overview, look
from obskit.watch.parts import Destinations, Onlooker, keep_windows, only_prints, sources_of
from obskit.watch.refusals import problems_of, refused_files, report
from obskit.web.acks import ack_routes
from obskit.web.alertmanager_api import About, alertmanager_api
from obskit.web.app import Doors, Health, build_app
from obskit.web.server import address_of, bind, serve

log = logging.getLogger(__name__)

DRAIN_S: Final = 7.0
"""How long a stop waits for messages on their way: with the rest of the stop, under 10 s."""
ONCE_S: Final = 30.0
"""How long `once` tries to deliver: long enough for a receiver that asks to wait a little."""
LOOK_S: Final = 0.05
_BUILT_IN: Final = (
    "external_labels", "external_url", "logs_url", "query_timeout", "query_max_samples", "rule_max_delay",
)  # fmt: skip
"""Keys of `global` that templates, links and the engine are built with."""
STOPPING: Final = "stopping"

BUILD = Gauge("obskit_build_info", "The version that runs.", ("version",), registry=REGISTRY)
RELOAD_OK = Gauge(
    "obskit_config_last_reload_successful", "Whether the config was taken at the last try.", registry=REGISTRY
)
RELOADED = Gauge(
    "obskit_config_last_reload_success_timestamp_seconds", "When the config was last taken.", registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides. `dry_run`: decide on an empty store in a temporary folder, print, send nothing."""

    dry_run: bool = False
    listen: str | None = None


class Daemon:
    """One `obskit watch`. `start`, then `run` until `stop` is set, then `close`; or `once` instead of `run`."""

    def __init__(self, config: Config, clock: Clock, options: Options | None = None) -> None:
        self.config = config
        self._clock = clock
        self._options = options or Options()
        self._opened = AsyncExitStack()
        self.health = Health({"starting"})
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started_ms = clock.now_ms()
        self._reloading = asyncio.Lock()
        self._read_as = signature(config.files)

    async def start(self) -> None:
        """Open the store and the port, and build every part. Raises StoreError or ConfigError: nothing is open then."""
        async with AsyncExitStack() as opened:
            self._open_store(opened)
            self._listener = bind(*parse_listen(self._options.listen or self.config.web.listen))
            opened.callback(self._listener.close)
            http = httpx.AsyncClient(timeout=10, follow_redirects=False, verify=trust())
            self._http = await opened.enter_async_context(http)
            keep_windows(self._store, self.config.groups)
            await asyncio.to_thread(self._store.load)
            self._build()
            await asyncio.to_thread(self._errors.load)
            if self.config.errors.enabled:
                self._store.search.ask(self._errors.question)
                self._store.subscribe(self._errors.take)
            self._opened = opened.pop_all()
        BUILD.labels(__version__).set(1)
        self._note_reload(successful=True)

    async def run(self, stop: asyncio.Event) -> bool:
        """Run every loop until `stop` is set; False when a loop ended by itself, which is a bug of ours."""
        self._store.subscribe(self._runner.wake)
        if self.config.errors.enabled:
            self._begin("errors", self._errors.run())
        self._begin("outbox", self._outbox.run())
        self._begin("dispatch", self._dispatcher.run())
        self._begin("rules", self._runner.run())
        self._begin("blind rules", self._blind.run())
        self._begin("sealing", self._store.sealing.run(self._clock))
        self._begin("retention", self._store.retention.run(self._clock))
        if self._store.cold is not None:
            self._begin("cold storage", self._store.cold.run())
        self._begin("web", serve(self._app(), self._listener))
        self._begin("reload", self._follow_files())
        self._begin("watchdog", self._watchdog())
        if not self._options.dry_run:
            self._begin("heartbeats", self._life_signs.run())
        await self._supervisor.reload(sources_of(self.config))
        self.health.waiting.clear()
        systemd.notify(f"READY=1\nSTATUS={len(self.config.sources)} collectors, {self.config.rule_count} rules")
        log.info(
            "ready: collectors=%d rules=%d store=%s listen=%s",
            len(self.config.sources),
            self.config.rule_count,
            self._database.folder,
            self.address,
        )
        self._tell_limits()
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([stopping, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return self._explain_end() if not stop.is_set() else True

    async def once(self) -> bool:
        """Read every collector once, evaluate every rule once, deliver what follows; whether all of it went well."""
        self._tell_limits()
        with ExitStack() as feeds:
            # Open until the last one was read: that is obskit itself, which tells how it went with the others.
            read = [await self._read_once(source, feeds) for source in sources_of(self.config)]
        await self._errors.catch_up()
        await self._runner.evaluate_all(self._clock.now_ms())
        policy = self.config.policy
        at_once = replace(policy, route=_at_once(policy.route))
        self._dispatcher.reload(at_once, self._destinations.by_receiver)
        await self._dispatcher.flush_due()
        undelivered = await self._deliver_waiting()
        firing = len(self.overview().firing)
        log.info(
            "once: collectors=%d failed=%d firing=%d undelivered=%d", len(read), read.count(False), firing, undelivered
        )
        return all(read) and not undelivered

    async def close(self) -> None:
        """Stop in order: nothing new comes in, what was decided goes out for a while, the store is closed last."""
        systemd.notify("STOPPING=1")
        self.health.waiting.add(STOPPING)
        async with self._reloading:  # one that is under way ends first: it would start collectors that nobody stops
            await self._supervisor.stop()
        await self._end("errors")
        await self._errors.close()
        await self._end(
            "rules", "blind rules", "retention", "cold storage", "reload", "watchdog", "heartbeats", "dispatch"
        )
        if "outbox" in self._tasks:
            await self._outbox.drain(DRAIN_S)
        await self._end("outbox", "web")
        await self._opened.aclose()

    async def reload(self) -> str:
        """Read the config again. What is wrong with it is returned and logged, and the old one goes on."""
        async with self._reloading:
            if STOPPING in self.health.waiting:
                return "obskit is stopping\n"
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={round(self._clock.monotonic() * 1e6)}")
            # Looked at before they are read: what changes from now on is another change.
            before = signature(self._read_as)
            error = await self._read_again()
            files = {*self.config.files, *refused_files(error)}
            self._read_as = {**signature(files), **{file: before[file] for file in files & before.keys()}}
            self._note_reload(successful=error is None)
            systemd.notify("READY=1")
            return "" if error is None else report(error)

    def overview(self) -> Overview:
        """How everything stands, for the status table and the front page."""
        return look(
            supervisor=self._supervisor,
            runner=self._runner,
            blind=self._blind,
            outbox=self._outbox,
            started_ms=self._started_ms,
            now_ms=self._clock.now_ms(),
        )

    @property
    def address(self) -> str:
        """Where the server listens."""
        return address_of(self._listener)

    # Building

    def _open_store(self, opened: AsyncExitStack) -> None:
        folder = Path(self.config.store.path)
        if self._options.dry_run:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="obskit-dry-run-")))
        self._database = Database.open(folder)
        opened.push_async_callback(self._database.close)
        settings = self.config.store
        if self._options.dry_run:
            # What is copied to cold storage is written there; an empty store would take the place over, too.
            settings = settings.model_copy(update={"cold": ColdSettings()})
        self._store = EmbeddedStore(self._database, self._clock, settings)

    @property
    def _handlers(self) -> dict[str, Handler]:
        return dict.fromkeys((ACTION_KIND, DIGEST_KIND), self._deliver)

    def _build(self) -> None:
        self._destinations = self._build_destinations(self.config)
        self._hooks = self._build_hooks(self.config)
        self._outbox = Outbox(self._database, self._clock, self._handlers, paces=self._destinations.paces)
        self._dispatcher = Dispatcher(
            self._database,
            self._clock,
            self.config.policy,
            self._destinations.by_receiver,
            external_url=self.config.general.external_url,
            decided=self._outbox.wake,
        )
        self._life_signs = LifeSigns(
            self.config.heartbeats,
            self._http,
            self._clock,
            self._database,
            lambda: (self._runner.snapshot(), self._outbox.stats),
        )
        self._errors = Keeper(self._database, self._store, self._clock, self.config.errors)
        self._runner = self._build_runner()
        self._blind = BlindRules(self._store.metrics, self._store.metric_names, self._clock)
        self._blind.watch(self.config.own_groups)
        self._supervisor = Supervisor(self._store, self._clock)

    def _build_destinations(self, config: Config) -> Destinations:
        if self._options.dry_run:
            return Destinations.preview(config)
        backdrop = Backdrop(config.groups, self._build_promql(), LogQL(self._store.logs))
        onlooker = Onlooker(
            backdrop, self._database, self._store.logs, self._clock, app_labels=config.errors.app_labels
        )
        return Destinations.build(config, self._http, onlooker)

    def _build_promql(self) -> PromQL:
        general = self.config.general
        return PromQL(
            self._store.metrics,
            limits=Limits(general.query_max_samples, timeout_s=general.query_timeout / 1000, clock=self._clock),
            default_step_ms=general.evaluation_interval,
        )

    def _build_hooks(self, config: Config) -> dict[str, Hook]:
        return {} if self._options.dry_run else build_hooks(config.receivers, self._http, self._database, self._tend)

    def _tend(self, incidents: Iterable[str]) -> None:
        """The dispatcher is built after the hooks."""
        self._dispatcher.tend(incidents)

    def _build_runner(self) -> Runner:
        general = self.config.general
        logs = LogWindows(self._store.logs, self._clock, max_delay_ms=general.rule_max_delay, search=self._store.search)
        evaluator = Evaluator(
            self._build_promql(),
            logs,
            external_labels=Labels(general.external_labels),
            external_url=general.external_url,
            lines=SampleLines(LogQL(self._store.logs), LogLinks(general.logs_url), self._errors.book.group_of),
        )
        listeners = Listeners(record=self._dispatcher.accept, after_commit=self._dispatcher.wake)
        return Runner(
            self._store, evaluator, listeners, self._clock, groups=self.config.groups, logs=logs, worked_s=worked_s
        )

    def _app(self) -> Any:
        token = self.config.web.token
        ingest = self.config.ingest
        doors = Doors(
            overview=lambda: self.overview().as_text(),
            reload=self.reload,
            change_outbox=self._change_outbox,
            change_error=self._errors.change,
            hook=self._hook,
            listener=self._supervisor.listener,
            reception=Reception(self._store, self._clock, ingest) if ingest.enabled else None,
        )
        api = alertmanager_api(self._dispatcher, self._clock, self._about, started_ms=self._started_ms)
        apis = [*api, *ack_routes(self._dispatcher.acks)]
        return build_app(self.health, doors, token=token, hosts=self.config.web.allowed_hosts, apis=apis)

    def _about(self) -> About:
        return About([receiver.name for receiver in self.config.receivers], original(self.config))

    async def _change_outbox(self, id: int, what: str) -> bool:
        return await (self._outbox.retry(id) if what == "retry" else self._outbox.drop(id))

    def _hook(self, kind: str) -> Hook | None:
        """Of now, as the destinations are."""
        return self._hooks.get(kind)

    async def _deliver(self, delivery: Any) -> Any:
        """Through the destinations of now: a reload must not leave the outbox with those of before."""
        return await self._destinations.deliver(delivery)

    # Once

    async def _read_once(self, source: Source, feeds: ExitStack) -> bool:
        collector = find_kind(source.kind).build(source.settings)
        feed = Feed(collector.name, self._store, self._clock)
        feeds.callback(feed.close)
        try:
            await collector.once(feed)
        except CollectorError:
            return False  # its book has told why
        except Exception:  # as under the supervisor: one bad collector must not take the others with it
            log.exception("collector crashed: collector=%s", collector.name)
            return False
        return True

    async def _deliver_waiting(self) -> int:
        """Empty the outbox; how many messages did not arrive. What waits still is tried by the next process."""
        dead = self._outbox.stats.dead
        self._begin("outbox", self._outbox.run())
        until_s = self._clock.monotonic() + ONCE_S
        while self._outbox.stats.waiting and self._clock.monotonic() < until_s:
            await self._clock.sleep(LOOK_S)
        stats = self._outbox.stats
        return sum(stats.waiting.values()) + stats.dead - dead

    # Running

    def _begin(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.create_task(loop, name=name)

    async def _end(self, *names: str) -> None:
        ending = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in ending:
            task.cancel()
        for task in ending:
            with suppress(asyncio.CancelledError, Exception):
                await task

    def _explain_end(self) -> bool:
        for name, task in self._tasks.items():
            if task.done():
                reason = None if task.cancelled() else task.exception()
                log.critical("a loop ended by itself: loop=%s", name, exc_info=reason)
        return False

    async def _watchdog(self) -> None:
        """WATCHDOG=1 comes from this loop, so a loop that is stuck is a service that systemd restarts."""
        every_s = systemd.watchdog_s()
        while True:
            await self._clock.sleep(every_s or 3600.0)
            if every_s:
                systemd.notify("WATCHDOG=1")

    def _tell_limits(self) -> None:
        """What a person should not have to find out: what was unwise to write, and what is missing altogether."""
        for problem in self.config.warnings:
            log.warning("config: %s", problem)
        if not self.config.sources:
            log.warning(
                "nothing is collected but obskit's own metrics: the config has no collectors, no scrape_configs"
            )
        if only_prints(self.config):
            log.info("messages go to standard output alone: the config has no other receiver")

    # Reload

    async def _follow_files(self) -> None:
        while True:
            await changed(lambda: self._read_as, self._clock)
            await self.reload()

    async def _read_again(self) -> ObskitError | None:
        """Take the config as it is now; what keeps it from being taken, logged."""
        error: ObskitError
        try:
            config = await asyncio.to_thread(load_config, self.config.path)
            await self._take(config)
        except ObskitError as refusal:
            error = refusal
        except Exception as crash:  # whatever a file held, alerting goes on as it was
            log.exception("reload crashed")
            error = ObskitError(f"reload crashed: {type(crash).__name__}")
        else:
            log.info("config reloaded: collectors=%d rules=%d", len(config.sources), config.rule_count)
            self._tell_limits()
            return None
        problems = problems_of(error)
        log.error("config not taken, the old one goes on: problems=%d", len(problems) or 1)
        for problem in problems or (error,):
            log.error("config: %s", problem)
        return error

    async def _take(self, config: Config) -> None:
        destinations = self._build_destinations(config)
        for key in ("store", "web", "ingest", "errors"):
            if getattr(config, key) != getattr(self.config, key):
                log.warning("this change needs a restart: section=%s", key)
        for key in _BUILT_IN:
            if getattr(config.general, key) != getattr(self.config.general, key):
                log.warning("this change needs a restart: section=global key=%s", key)
        await self._supervisor.reload(sources_of(config))
        keep_windows(self._store, config.groups)
        self._destinations = destinations
        self._hooks = self._build_hooks(config)
        self._outbox.reload(self._handlers, destinations.paces)
        self._dispatcher.reload(config.policy, destinations.by_receiver)
        await self._runner.reload(config.groups)
        self._blind.watch(config.own_groups)
        self._life_signs.reload(config.heartbeats)
        self.config = config

    def _note_reload(self, *, successful: bool) -> None:
        RELOAD_OK.set(1 if successful else 0)
        if successful:
            RELOADED.set(self._clock.now_ms() / 1000)


def _at_once(route: Route) -> Route:
    """The same tree without waiting for a group to fill."""
    return replace(route, group_wait_ms=0, routes=tuple(_at_once(child) for child in route.routes))
