"""GET /metrics: what was done is counted, what is so is told, and what was sent is in neither."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import DatabaseUnavailable
from service.telemetry.metrics import UPLOAD_OUTCOMES
from service.web.access_log import NO_METHOD, NO_ROUTE, NOT_HTTP

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


async def figures(service):
    """Every sample, by its name and labels."""
    answer = await service.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


class Difference:
    """What has been counted since it was made."""

    def __init__(self, before, after):
        self._before, self._after = before, after

    def __call__(self, name, **labels):
        key = (f"dicom_store_{name}", frozenset(labels.items()))
        return self._after.get(key, 0.0) - self._before.get(key, 0.0)


async def test_what_was_asked_is_counted_by_method_route_and_status(service, patient, ct):
    before = await figures(service)
    path = (await service.upload(patient, ct)).headers["Location"]
    again = await service.upload(patient, ct)
    assert again.status == 200
    await service.upload(patient, b"no file")
    for _ in range(2):
        assert (await service.ask("GET", path, patient=patient, headers={"Accept": "image/png"})).status == 200
    await service.ask("GET", f"{path}/tag/Modality", patient=patient)
    await service.ask("GET", f"{path}/tag/Nonsense", patient=patient)
    counted = Difference(before, await figures(service))
    uploads, tag = "/patient/{patient_id}/dicom", "/patient/{patient_id}/dicom/{dicom_id}/tag/{tag}"
    assert counted("requests_total", method="POST", route=uploads, status="200") == 2
    assert counted("requests_total", method="POST", route=uploads, status="422") == 1
    assert counted("requests_total", method="GET", route=tag, status="200") == 1
    assert counted("requests_total", method="GET", route=tag, status="422") == 1
    assert counted("request_seconds_count", method="GET", route=tag) == 2
    assert counted("request_seconds_bucket", method="GET", route=tag, le="+Inf") == 2
    assert {outcome: counted("uploads_total", outcome=outcome) for outcome in UPLOAD_OUTCOMES} == {
        **dict.fromkeys(UPLOAD_OUTCOMES, 0),
        "stored": 1,
        "present": 1,
        "refused": 1,
    }
    assert counted("uploaded_bytes_total") == len(ct)
    assert counted("received_bytes_total") > 2 * len(ct)
    assert counted("work_seconds_count", work="extraction", where="service") >= 2
    assert counted("work_seconds_count", work="rendering", where="worker") == 1
    assert counted("worker_jobs_total") >= 1
    assert counted("rendered_cache_total", result="hit") == 1
    assert counted("rendered_cache_total", result="miss") == 1


async def test_a_label_is_of_the_program_and_not_of_what_was_sent(service):
    for path in ("/MARK7KRAM", "/patient/MARK7KRAM/dicom", "/patient/MARK7KRAM/nothing"):
        await service.ask("GET", path)
    await service.raw(b"MARK7KRAM / HTTP/1.1\r\nHost: x\r\n\r\n")
    await service.raw(b"GET /patient/MARK7KRAM HTTP/9.9\r\nHost: x\r\n\r\n")
    templates = {route.resource.canonical for route in service.app.router.routes()} | {NO_ROUTE, NOT_HTTP}
    for name, labels in await figures(service):
        values = dict(labels)
        assert "MARK7KRAM" not in str(values), name
        if "route" in values:
            assert values["route"] in templates
            assert re.fullmatch(r"[A-Z]+", values["method"]) or values["method"] == NO_METHOD


async def test_what_is_so_now_is_told(service):
    async with asyncio.timeout(20):  # the event loop's lag is measured twice a second
        while True:
            told = {name: value for (name, labels), value in (await figures(service)).items() if not labels}
            if told["dicom_store_event_loop_lag_seconds_count"]:
                break
            await asyncio.sleep(0.1)
    assert told["dicom_store_workers"] == 1
    assert told["dicom_store_storage_threads"] == 32
    assert told["dicom_store_requests_in_progress"] >= 1
    assert told["dicom_store_database_up"] == 1
    assert told["process_resident_memory_bytes"] > 10 << 20
    assert told["process_cpu_seconds_total"] > 0


async def test_instances_are_counted_by_their_state(start, ct):
    service = await start()
    await service.upload("p-1", ct)
    await service.store._database["instances"].update_many({}, {"$set": {"extraction.state": "failed"}})
    told = await figures(service)
    states = {dict(labels)["state"]: value for (name, labels), value in told.items() if name == "dicom_store_instances"}
    assert states == {"done": 0, "pending": 0, "failed": 1, "deleting": 0}


@pytest.mark.parametrize("how", ["refuses", "does not answer"])
async def test_a_database_that_is_away_neither_fails_nor_holds_up_the_figures(start, monkeypatch, how):
    service = await start()

    async def away(_):
        if how == "does not answer":
            await asyncio.Event().wait()
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(type(service.store.statistics), "count_states", away)
    told = await figures(service)
    if how == "refuses":
        assert told["dicom_store_database_up", frozenset()] == 0


async def test_many_scrapes_at_once_are_one(start, monkeypatch):
    service = await start()
    counted = []
    original = type(service.store.statistics).count_states

    async def count(statistics):
        counted.append(1)
        return await original(statistics)

    monkeypatch.setattr(type(service.store.statistics), "count_states", count)
    await asyncio.gather(*(service.ask("GET", "/metrics") for _ in range(20)))
    assert len(counted) == 1


def metrics_of(text):
    return set(re.findall(r"\b((?:dicom_store|process)_[a-z_]+)\b", text))


async def test_the_dashboard_and_the_alerts_ask_only_for_what_is_there(service):
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    assert len(queries) > 25
    rows = [line.split(" | ") for line in (DOCS / "operating.md").read_text().splitlines() if line.startswith("| ")]
    alerts = [row[1] for row in rows if "dicom_store" in row[1]]
    assert len(alerts) > 10
    there = {name for name, _ in await figures(service)}
    asked = metrics_of(" ".join(queries))
    assert asked | metrics_of(" ".join(alerts)) <= there
    # And nothing is measured that nobody looks at.
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in there}
    assert plain == {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    for query in queries:
        assert query.count("(") == query.count(")")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
