"""Against the real Alertmanager: the same file and the same alerts lead to the same groups, whatever their labels hold."""

from __future__ import annotations

import http.client
import http.server
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from obskit.model.labels import Labels
from obskit.routing.tree import Route, RouteSettings, build_tree
from tests.servers import free_port, wait_for_port

ROUTE = {
    "receiver": "root",
    "group_by": ["alertname"],
    "group_wait": "0s",
    "routes": [
        {
            "receiver": "pages",
            "matchers": ['severity="critical"', 'team!=""'],
            "continue": True,
            "group_by": ["team", "alertname"],
        },
        {
            "receiver": "db",
            "match": {"team": "db"},
            "group_by": ["owner", "team"],
            "routes": [
                {"receiver": "owners", "matchers": ['owner=~"a|b"', "severity!~warn.*"], "continue": True},
                {"receiver": "late", "match_re": {"owner": "[b-z]+"}, "group_by": ["..."]},
            ],
        },
        {"receiver": "web", "matchers": ['{team=~"web.*", owner!="a"}'], "group_by": ["note"]},
    ],
}
RECEIVERS = ("root", "pages", "db", "owners", "late", "web")


def our_tree() -> Route:
    return build_tree(RouteSettings.model_validate(ROUTE))


def config(path: Path, url: str) -> Path:
    hooks = [{"name": name, "webhook_configs": [{"url": f"{url}/{name}"}]} for name in RECEIVERS]
    path.write_text(yaml.safe_dump({"route": ROUTE, "receivers": hooks}))
    return path


class Hooks(http.server.ThreadingHTTPServer):
    """Remembers (receiver, groupKey) of every webhook."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Hook)


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Hooks)
        self.server.heard.put((self.path.strip("/"), body["groupKey"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    server = Hooks()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.server("prometheus-alertmanager")
def test_groups_have_the_keys_of_the_real_one(tmp_path: Path, hooks: Hooks) -> None:
    file, port = config(tmp_path / "am.yml", f"http://127.0.0.1:{hooks.server_address[1]}"), free_port()
    command = ["prometheus-alertmanager", f"--config.file={file}", f"--storage.path={tmp_path}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    alerts = [
        {"alertname": "x", "team": "db", "owner": "b", "severity": "critical"},
        {"alertname": 'quo"te\\ \t\n', "team": "web", "severity": "critical", "note": "é\u200b\x01\U000e0001"},
        {"alertname": "y", "team": "webshop"},
        {"alertname": "z"},
    ]
    expected = {
        (route.receiver, route.group_key(route.group_labels(Labels(labels))))
        for labels in alerts
        for route in our_tree().match(labels)
    }
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        body = json.dumps([{"labels": labels} for labels in alerts])
        connection.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        heard = {hooks.heard.get(timeout=20) for _ in expected}
    finally:
        process.kill()
        process.wait()
    assert heard == expected
