"""The rabbitmq collector against a real RabbitMQ with a real worker, and against what its API may answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed, find_kind
from obskit.errors import CollectorError
from obskit.testing.clock import run
from obskit_collectors.rabbitmq import KIND, RabbitmqSettings
from obskit_collectors.rabbitmq_figures import QueueFigures, read_nodes
from tests.collectors.jobs import Jobs
from tests.collectors.pages import Pages
from tests.journeys.daemon import eventually
from tests.servers import RabbitServer, RedisServer

JSON = "application/json"
DONE = 'obskit_queue_completed_total{queue="celery", system="rabbitmq"}'


def collect(kind: str, **settings: Any) -> dict[str, float]:
    captured = Captured()
    collector = find_kind(kind).build(find_kind(kind).settings(**settings))
    run(collector.once(Feed(collector.name, captured, SystemClock())))
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}


def depth(state: str, queue: str = "celery", system: str = "rabbitmq") -> str:
    return f'obskit_queue_messages{{queue="{queue}", state="{state}", system="{system}"}}'


@pytest.mark.server("rabbitmq-server")
def test_queues_are_told_as_rabbitmqctl_tells_them(rabbit_server: RabbitServer, redis_server: RedisServer) -> None:
    jobs = Jobs("celery", rabbit_server.amqp, held_at=redis_server.url)
    jobs.fill()
    settings = {"url": rabbit_server.api_url, "password": "guest"}
    with jobs.working():
        redis_server.command("BLPOP", "started", "60")
        # One runs, three wait for it, two are done; the figures of the API follow within a second or two.
        wanted = {depth("in_flight"): 1, depth("ready"): 3, DONE: 2}
        assert eventually(lambda: wanted.items() <= collect("rabbitmq", **settings).items(), 60)
        found = collect("rabbitmq", **settings)
        as_celery = collect(
            "celery", rabbitmq=settings, queues=["celery", {"name": "reports", "labels": {"tier": "pro"}}]
        )
        columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
        told = {
            row["name"]: row for row in json.loads(rabbit_server.control("list_queues", *columns, "--formatter=json"))
        }
    for queue in ("celery", "reports"):
        assert found[depth("ready", queue)] == told[queue]["messages_ready"]
        assert found[depth("in_flight", queue)] == told[queue]["messages_unacknowledged"]
        labels = f'{{queue="{queue}", vhost="/"}}'
        assert found[f"rabbitmq_queue_messages_ready{labels}"] == told[queue]["messages_ready"]
        assert found[f"rabbitmq_queue_messages_unacked{labels}"] == told[queue]["messages_unacknowledged"]
        assert found[f"rabbitmq_queue_consumers{labels}"] == told[queue]["consumers"]
    assert found["rabbitmq_up"] == 1
    assert found['rabbitmq_alarms_memory_used_watermark{node="obskit@localhost"}'] == 0
    assert found["rabbitmq_connections"] >= 1
    assert as_celery[depth("ready", system="celery")] == 3
    assert as_celery[depth("in_flight", system="celery")] == 1
    assert as_celery['celery_queue_length{queue_name="celery"}'] == 3
    assert as_celery['celery_active_consumer_count{queue_name="celery"}'] == 1
    assert as_celery['obskit_queue_consumers{queue="reports", system="celery", tier="pro"}'] == 0
    assert not [name for name in as_celery if name.startswith("rabbitmq_")]


@pytest.mark.server("rabbitmq-server")
def test_the_doctor_knows_a_user_who_may_not_see_nodes(rabbit_server: RabbitServer) -> None:
    rabbit_server.control("add_user", "watcher", "s3cret")
    rabbit_server.control("set_user_tags", "watcher", "management")
    rabbit_server.control("set_permissions", "watcher", "", "", "")
    settings = RabbitmqSettings(url=rabbit_server.api_url, username="watcher", password="s3cret")  # type: ignore[arg-type]
    queues, nodes = run(KIND.doctor(settings, SystemClock()))
    assert queues.ok
    assert not nodes.ok
    assert "rabbitmqctl set_user_tags" in nodes.fix
    assert "s3cret" not in repr(nodes)


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"vhost": "/", "name": name, "messages_ready": 0, "messages_unacknowledged": 0, **more}


def figures(*rows: dict[str, Any], system: QueueFigures | None = None) -> dict[str, float]:
    system = system or QueueFigures("rabbitmq", ("*",), ("amq.gen-*",), ("*.dlq",))
    found = system.readings(rows, 1_700_000_000_000)
    return {
        name + "".join(sorted(labels.values())): value for name, labels, value in found if name.startswith("obskit")
    }


def test_a_queue_that_others_name_for_their_dead_letters_holds_dead_ones() -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "mail-failed"}
    found = figures(
        row("mail", arguments=arguments), row("mail-failed", messages_ready=4), row("x.dlq", messages_ready=1)
    )
    assert found["obskit_queue_messagesdeadmail-failedrabbitmq"] == 4
    assert found["obskit_queue_messagesdeadrabbitmqx.dlq"] == 1
    assert found["obskit_queue_messagesmailrabbitmqready"] == 0


def test_what_is_not_told_is_not_zero() -> None:
    assert figures({"vhost": "/", "name": "new"}) == {}
    assert figures(row("odd", messages_ready="many", messages_unacknowledged=None, message_stats=[])) == {}


def test_an_age_is_told_only_where_producers_stamp_their_messages() -> None:
    system = QueueFigures("rabbitmq", ("*",), (), ())
    age = "obskit_queue_oldest_age_secondsmailpayloadrabbitmq"
    assert age not in figures(row("mail", messages_ready=1, head_message_timestamp=None), system=system)
    assert figures(row("mail", messages_ready=1, head_message_timestamp=1_699_999_970), system=system)[age] == 30
    assert figures(row("mail", head_message_timestamp=None), system=system)[age] == 0
    assert age not in figures(row("mail", messages_ready=1, head_message_timestamp=None), system=system)


def test_queues_of_other_virtual_hosts_have_it_in_their_name_and_anonymous_ones_are_left_out() -> None:
    found = figures(row("mail", vhost="shop"), row("amq.gen-x"))
    assert "obskit_queue_messagesrabbitmqreadyshop/mail" in found
    assert not [name for name in found if "gen" in name]


def test_alarms_and_limits_of_a_node_are_told() -> None:
    node = {
        "name": "a@b",
        "running": True,
        "mem_alarm": True,
        "disk_free": 5,
        "partitions": ["c@d"],
        "fd_used": "unknown",
    }
    found = {name: value for name, _, value in read_nodes([node, "odd"])}
    assert found["rabbitmq_alarms_memory_used_watermark"] == 1
    assert found["rabbitmq_disk_space_available_bytes"] == 5
    assert found["rabbitmq_partitions"] == 1
    assert "rabbitmq_process_open_fds" not in found


def test_pages_are_read_to_the_last(pages: Pages) -> None:
    pages.serve(json.dumps({"items": [row("a")], "page_count": 3}), "/api/queues/shop%2Feu", content_type=JSON)
    collect("rabbitmq", url=f"http://{pages.address}", password="x", nodes=False, vhosts=["shop/eu"])
    assert ["page=1" in path or "page=2" in path or "page=3" in path for path, _ in pages.requests] == [True] * 3


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ('{"error":"not_authorized","reason":"Login failed"}', 401, "auth"),
        ("[]", 200, "bad_data"),
        ('{"items": [', 200, "bad_data"),
        ("busy", 503, "server"),
    ],
)
def test_an_answer_that_is_no_page_has_its_reason(pages: Pages, body: str, status: int, reason: str) -> None:
    pages.serve(body, "/api/queues", content_type=JSON, status=status)
    with pytest.raises(CollectorError) as raised:
        collect("rabbitmq", url=f"http://{pages.address}", password="n0pe-n0pe", nodes=False)
    assert raised.value.reason == reason
    assert "n0pe" not in str(raised.value)


def test_a_server_that_is_down_is_told_so_and_has_no_queues() -> None:
    captured = Captured()
    collector = KIND.build(RabbitmqSettings(url="http://127.0.0.1:1", password="x"))  # type: ignore[arg-type]
    with pytest.raises(CollectorError, match="/api/queues"):
        run(collector.once(Feed("rabbitmq", captured, SystemClock())))
    assert [(sample.labels["__name__"], sample.value) for sample in captured.samples] == [("rabbitmq_up", 0)]


@pytest.mark.parametrize("url", ["amqp://host", "rabbit:15672", "http://user:pass@host:15672"])
def test_a_url_that_is_not_the_api_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        RabbitmqSettings(url=url, password="x")  # type: ignore[arg-type]
