"""The audit only grows: entries come back as they were written, once, and nothing here changes or removes one."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure

import service
from service.errors import Unavailable
from service.storage.audit import AuditEntry
from service.storage.connection import Database
from service.storage.store import Store
from tests.storage.samples import Clock

SOURCES = Path(service.__file__).parent
DICOM_ID = "5b1f0000-0000-5000-8000-000000000000"


def entry(clock: Clock, **changes: Any) -> AuditEntry:
    made = AuditEntry(
        at=clock(),
        action="read_tag",
        outcome="done",
        status=200,
        method="GET",
        route="/patient/{patient_id}/dicom/{dicom_id}/tag/{tag}",
        request_id="r-1",
        patient_id="p-1",
        subject="clinic",
        token_id="t-1",
        dicom_ids=(DICOM_ID,),
        share_id=DICOM_ID,
    )
    return replace(made, **{"entry_id": ObjectId(), **changes})


async def test_an_entry_is_kept_as_it_was_written(store: Store, database: Database, clock: Clock) -> None:
    entries = [entry(clock), entry(clock, outcome="intended", status=None, subject=None, dicom_ids=(), share_id=None)]
    assert await store.audit.append(entries) == 0
    kept = await database["audit"].find().sort("_id", 1).to_list(None)
    assert [each["_id"] for each in kept] == [each.entry_id for each in entries]
    assert kept[0]["dicom_ids"] == [DICOM_ID]
    assert (kept[1]["status"], kept[1]["subject"]) == (None, None)
    assert kept[0]["at"] == entries[0].at
    assert set(kept[0]) == {"_id", *AuditEntry.__slots__} - {"entry_id"}
    assert set(kept[0]) - set(kept[1]) == {"share_id"}  # most entries are about none


async def test_a_second_try_writes_nothing_twice(store: Store, database: Database, clock: Clock) -> None:
    first, second = entry(clock), entry(clock)
    await store.audit.append([first])
    assert await store.audit.append([first, second]) == 0
    assert await database["audit"].count_documents({}) == 2


@pytest.mark.usefixtures("validators")
async def test_an_entry_that_the_server_refuses_costs_no_other(store: Store, database: Database, clock: Clock) -> None:
    wrong = entry(clock, patient_id="p" * 65)
    assert await store.audit.append([entry(clock), wrong, entry(clock)]) == 1
    assert await database["audit"].count_documents({}) == 2


async def test_a_server_that_takes_no_entries_is_told_as_that(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationFailure("not authorized on dicom to execute command", 13)

    monkeypatch.setattr(store.audit.collection, "insert_many", refuse)
    with pytest.raises(Unavailable, match="audit"):
        await store.audit.append([entry(clock)])


async def test_entries_end_after_the_days_that_are_set_and_without_them_never(store: Store, database: Database) -> None:
    async def expiry() -> Any:
        return (await database["audit"].index_information()).get("expiry", {}).get("expireAfterSeconds")

    for days, seconds in ((None, None), (30, 30 * 86_400), (30, 30 * 86_400), (7, 7 * 86_400), (None, None)):
        await store.audit.keep_for(days)
        assert await expiry() == seconds


def test_no_code_but_its_own_module_touches_the_audit_and_that_only_adds() -> None:
    """Reads the source: `audit` of the collections is given to the trail, which inserts, reads and sets its index."""
    uses: dict[str, set[str]] = {}
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value == "audit":
                uses.setdefault(path.relative_to(SOURCES).as_posix(), set()).add("by its name")
            elif isinstance(node, ast.Attribute) and node.attr == "audit" and "collections" in ast.dump(node.value):
                uses.setdefault(path.relative_to(SOURCES).as_posix(), set()).add("as a collection")
    assert uses == {
        "storage/collections.py": {"by its name"},  # where collections get their names
        "storage/layout.py": {"by its name"},  # its indexes
        "storage/store.py": {"as a collection"},  # handed to the trail
        "web/app_keys.py": {"by its name"},  # a key of the application
        "web/share_json.py": {"by its name"},  # a field of an answer
    }
    trail = ast.parse((SOURCES / "storage" / "audit.py").read_text("utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(trail)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == "collection"
    }
    assert called == {"insert_many", "find", "index_information", "create_index", "drop_index"}
