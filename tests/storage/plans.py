"""What `explain` says of how a server answers: the stages of the plans that win.

The document's shape depends on the server: a find or an aggregation, the classic engine or the slot-based one, one
server or shards. In all of them a plan that wins stands under ``winningPlan``,
and a stage has its name under ``stage``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ASIDE = frozenset({"rejectedPlans", "parsedQuery", "slotBasedPlan", "serverInfo", "command", "executionStats"})
"""What stands beside the plan, and may have stages of its own that are not run."""

COMMANDS = frozenset({"find", "aggregate", "count", "distinct"})
"""The commands that read, and can be explained."""


def stages(explained: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give all stages of the winning plans, of every shard and every part.

    Raises
    ------
    ValueError
        There is no plan in it, or one without a stage: then nobody knows what it would do.
    """
    found: list[Mapping[str, Any]] = []
    plans = list(_plans(explained))
    for plan in plans:
        own = list(_stages(plan))
        if not own:
            raise ValueError("a winning plan has no stage")
        found += own
    if not plans:
        raise ValueError("there is no winning plan")
    return found


def scans_a_collection(explained: Mapping[str, Any]) -> bool:
    """Say whether a whole collection is read, on any shard."""
    return any(stage["stage"] in {"COLLSCAN", "CLUSTERED_COLLSCAN"} for stage in stages(explained))


def indexes(explained: Mapping[str, Any]) -> set[str]:
    """Give the names of the indexes that are read."""
    return {str(stage["indexName"]) for stage in stages(explained) if "indexName" in stage}


def _plans(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "winningPlan":
                yield value
            elif key not in ASIDE:
                yield from _plans(value)
    elif isinstance(node, list):
        for value in node:
            yield from _plans(value)


def _stages(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("stage"), str):
            yield node
        for key, value in node.items():
            if key not in ASIDE:
                yield from _stages(value)
    elif isinstance(node, list):
        for value in node:
            yield from _stages(value)
