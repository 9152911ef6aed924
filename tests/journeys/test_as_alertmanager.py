"""`obskit watch` in Alertmanager's place: the real amtool and a real Prometheus use it, unchanged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from obskit.outbound import httpx
from tests.journeys.daemon import Watch, eventually
from tests.journeys.receivers import Receivers
from tests.servers import free_port, wait_for_port

TOKEN = "let-me-in"
LOGIN = f"authorization:\n  type: Bearer\n  credentials: {TOKEN}\n"


@pytest.fixture
def obskit(watch: Watch, receivers: Receivers) -> Watch:
    """A daemon without rules of its own, that asks for a token."""
    route = {
        "receiver": "everyone",
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": "1s",
        "routes": [{"receiver": "nobody", "matchers": ["team=ghosts"]}],
    }
    watch.write(
        {
            "web": {"listen": f"127.0.0.1:{watch.port}", "token": TOKEN},
            "route": route,
            "receivers": [
                {"name": "everyone", "webhook_configs": [{"url": receivers.hook.url}]},
                {"name": "nobody"},
            ],
            "rule_packs": [],
        }
    )
    return watch.start()


class Amtool:
    """The real amtool, pointed at a daemon."""

    def __init__(self, obskit: Watch) -> None:
        login = obskit.folder / "login.yml"
        login.write_text(LOGIN)
        self._to = [f"--alertmanager.url=http://127.0.0.1:{obskit.port}", f"--http.config.file={login}"]
        self._to += ["--timeout=10s", "--no-version-check"]

    def __call__(self, *words: str, code: int = 0) -> str:
        run = subprocess.run(["amtool", *words, *self._to], capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == code, (words, run.stdout, run.stderr)
        return run.stdout.strip()


@pytest.mark.server("amtool")
def test_amtool_posts_and_lists_alerts(obskit: Watch, receivers: Receivers) -> None:
    amtool = Amtool(obskit)
    amtool("alert", "add", "Disk", "node=a", "--annotation=summary=full", "--generator-url=http://prom/g")
    assert eventually(lambda: receivers.posted("Disk"))
    assert receivers.posted("Disk")[0]["alerts"][0]["annotations"] == {"summary": "full"}
    found = json.loads(amtool("alert", "query", "node=a", "-o", "json"))
    assert [each["labels"] for each in found] == [{"alertname": "Disk", "node": "a"}]
    assert amtool("alert", "query", "node=b", "-o", "json") == "[]"
    assert "Disk" in amtool("alert", "--receiver=every.*")
    assert "Disk" not in amtool("alert", "--receiver=no.*")


@pytest.mark.server("amtool")
def test_amtool_silences(obskit: Watch, receivers: Receivers, tmp_path: Path) -> None:
    amtool = Amtool(obskit)
    its_id = amtool("silence", "add", "alertname=Disk", 'node=~"a|b"', "--comment=deploy", "--author=ann", "-d", "2h")
    amtool("alert", "add", "Disk", "node=a")
    amtool("alert", "add", "Disk", "node=c")
    assert eventually(lambda: receivers.posted("Disk"))
    assert {alert["labels"]["node"] for body in receivers.posted("Disk") for alert in body["alerts"]} == {"c"}
    (silenced,) = json.loads(amtool("alert", "query", "--silenced", "-o", "json"))
    assert silenced["status"]["silencedBy"] == [its_id]
    assert "deploy" in amtool("silence", "query", "alertname=Disk", "-o", "extended")
    amtool("silence", "update", its_id, "--duration=3h", "--comment=longer")
    (longer,) = json.loads(amtool("silence", "query", "-o", "json"))
    assert (longer["id"], longer["comment"]) == (its_id, "longer")
    exported = tmp_path / "silences.json"
    exported.write_text(amtool("silence", "query", "-o", "json"))
    amtool("silence", "expire", its_id)
    assert amtool("silence", "query", "-q") == ""
    assert amtool("silence", "query", "--expired", "-q") == its_id
    assert eventually(lambda: {a["labels"]["node"] for a in receivers.posted("Disk")[-1]["alerts"]} == {"a", "c"})
    amtool("silence", "import", "--force", str(exported))
    assert amtool("silence", "query", "-q") not in ("", its_id)
    amtool("silence", "expire", "4b5c6d7e-0000-4000-8000-000000000000", code=1)
    amtool("silence", "add", "a=~.*", "--comment=x", code=1)


@pytest.mark.server("amtool")
def test_amtool_reads_the_routes(obskit: Watch) -> None:
    amtool = Amtool(obskit)
    assert amtool("config", "routes", "test", "team=ghosts") == "nobody"
    assert amtool("config", "routes", "test", "team=x", "--verify.receivers=everyone") == "everyone"
    amtool("config", "routes", "test", "team=x", "--verify.receivers=nobody", code=1)
    assert 'team="ghosts"' in amtool("config", "routes", "show")
    assert "receiver: everyone" in amtool("config", "show")
    assert "disabled" in amtool("cluster", "show")


@pytest.mark.server("amtool")
def test_silences_and_alerts_outlive_a_crash(obskit: Watch, receivers: Receivers) -> None:
    amtool = Amtool(obskit)
    its_id = amtool("silence", "add", "alertname=Quiet", "--comment=x", "-d", "2h")
    amtool("alert", "add", "Quiet")
    amtool("alert", "add", "Loud")
    assert eventually(lambda: receivers.posted("Loud"))
    with obskit.store() as store:
        assert eventually(lambda: store.read("SELECT state FROM outbox") == [("sent",)])
    obskit.kill()
    obskit.start()
    assert amtool("silence", "query", "-q") == its_id
    assert amtool("alert", "query", "--silenced", "-o", "json").count("Quiet") == 1
    assert len(receivers.posted("Loud")) == 1
    assert not receivers.posted("Quiet")


RULES = """
groups:
  - name: shop
    interval: 1s
    rules:
      - alert: Broken
        expr: up{job="self"} == %d
        labels: {severity: critical, "source": "prometheus"}
        annotations: {summary: "it is broken"}
"""


@contextmanager
def prometheus(folder: Path, obskit: Watch) -> Iterator[int]:
    """A real Prometheus that evaluates rules.yml and tells obskit; the port it listens on."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - authorization: {{credentials: {TOKEN}}}
      static_configs: [{{targets: ["127.0.0.1:{obskit.port}"]}}]
scrape_configs:
  - {{job_name: self, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""
    )
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle", "--rules.alert.resend-delay=2s"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.server("prometheus")
def test_a_prometheus_tells_it_of_its_alerts_and_of_their_end(
    obskit: Watch, receivers: Receivers, tmp_path: Path
) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES % 1)
    with prometheus(folder, obskit) as port:
        assert eventually(lambda: receivers.posted("Broken"), 30)
        (alert,) = receivers.posted("Broken")[0]["alerts"]
        assert (alert["status"], alert["annotations"]) == ("firing", {"summary": "it is broken"})
        assert alert["labels"] == {
            "alertname": "Broken",
            "instance": f"127.0.0.1:{port}",
            "job": "self",
            "severity": "critical",
            "source": "prometheus",
        }
        assert "/graph?g0.expr=" in alert["generatorURL"]
        (folder / "rules.yml").write_text(RULES % 7)
        httpx.post(f"http://127.0.0.1:{port}/-/reload", trust_env=False)
        assert eventually(lambda: receivers.posted("Broken")[-1]["status"] == "resolved", 30)
    assert [body["status"] for body in receivers.posted("Broken")] == ["firing", "resolved"]
    metrics = obskit.get("/metrics", Authorization=f"Bearer {TOKEN}").text
    assert 'obskit_alertmanager_alerts_received_total{status="refused"} 0.0' in metrics
