"""Bring the layout of a database up to this version of the service, and build the indexes that are missing."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.console import make_parser, print_summary, run_command
from service.commands.migration import STEPS
from service.resources import open_store_beside
from service.settings import Settings


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "migrate",
        "Brings an older layout of the stored documents up, step by step, and builds the indexes that /readyz reports "
        "as missing. It may be stopped and started again. For a change of layout stop the services of this database "
        "first; indexes are built beside them.",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing; tell what would be done")
    return parser.parse_args(arguments)


async def work(settings: Settings, given: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    async with open_store_beside(settings, "scripts/migrate.py", prepare=False) as store:
        migrated = await store.maintenance.migrate(STEPS, dry_run=given.dry_run)
    would = "would be " if given.dry_run else ""
    lines = [f"The layout is {migrated.found}, and nothing is to be changed."]
    if migrated.steps and migrated.layout == migrated.found:
        lines = [
            f"The layout is {migrated.found}, and documents that lack something of it {would or 'were '}completed."
        ]
    elif migrated.steps:
        lines = [f"The layout {would or 'was '}brought from {migrated.found} to {migrated.layout}."]
    lines += [f"  {step}" for step in migrated.steps]
    lines += [f"The index {name} {would or 'was '}built." for name in migrated.indexes]
    if not migrated.indexes:
        lines.append("No index is missing.")
    print_summary(given, asdict(migrated), lines)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    return run_command(given, os.environ, lambda settings: work(settings, given))


if __name__ == "__main__":
    sys.exit(main())
