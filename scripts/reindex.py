"""Make tag trees, tag index and series again from the stored originals, beside a running service."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.console import Progress, make_parser, positive, print_summary, run_command
from service.commands.reindex import ReindexReport, Selection, reindex
from service.dicom.extract import EXTRACTOR_VERSION
from service.errors import DatabaseUnavailable
from service.resources import now, open_store_beside, open_workers
from service.settings import Settings
from service.usecases.context import Context
from service.usecases.spool import sweep

REOPENINGS = 5


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "reindex",
        "Extracts stored files again: after an update of the extractor, after a failure, or to check that all is as it "
        "should be. The service may run meanwhile, or not. A run that was interrupted goes on when it is started "
        "again, and two runs at once share the work.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--outdated", action="store_true", help="what an older extractor made (the default)")
    which.add_argument("--all", action="store_true", help="every file (the default of --verify)")
    which.add_argument("--failed", action="store_true", help="files whose extraction failed")
    parser.add_argument("--patient", metavar="ID", help="only this patient's files")
    parser.add_argument("--id", metavar="DICOM_ID", action="append", default=[], help="only this file; may be repeated")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--dry-run", action="store_true", help="change nothing; list the tags that would change")
    does.add_argument(
        "--verify",
        action="store_true",
        help="change nothing; check the sha256 of every original and that all tags are what it gives now",
    )
    parser.add_argument("--fresh", action="store_true", help="with --all: begin anew, and forget an interrupted run")
    parser.add_argument("--workers", type=positive, metavar="N", help="worker processes [POOL_PROCESSES; one a CPU]")
    parser.add_argument("--rate", type=float, metavar="N", help="files a second, at most")
    given = parser.parse_args(arguments)
    if given.rate is not None and not 0 < given.rate < float("inf"):
        parser.error("--rate must be more than 0")
    if given.id and (given.outdated or given.all or given.failed):
        parser.error("--id names the files; --outdated, --all and --failed do not go with it")
    return given


async def work(settings: Settings, given: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    everything = given.all or (given.verify and not given.outdated and not given.failed)
    selection = Selection(
        which="failed" if given.failed else "all" if everything else "outdated",
        patient_id=given.patient,
        dicom_ids=tuple(given.id),
        dry_run=given.dry_run,
        verify=given.verify,
        fresh=given.fresh,
        rate=given.rate,
    )
    progress = Progress("verified" if given.verify else "compared" if given.dry_run else "re-extracted")
    progress.quiet = given.quiet
    report = ReindexReport()

    def show(so_far: ReindexReport) -> None:
        progress.show(so_far.worked, so_far.passed, so_far.total)

    await asyncio.to_thread(sweep, settings.spool_dir)
    async with open_workers(settings) as workers:
        for left in reversed(range(REOPENINGS)):
            try:
                yields = not selection.reads_only
                async with open_store_beside(settings, "scripts/reindex.py", yields=yields) as store:
                    await reindex(Context(store, workers, settings, now), selection, report=report, show=show)
                    break
            except DatabaseUnavailable:
                # The service that kept the local database may have ended: then this command keeps it. Or one may have
                # started: then it has taken over what this command kept.
                if not left or selection.reads_only or settings.mongodb_uri is not None:
                    raise
    progress.end()
    seconds = progress.seconds()
    print_summary(given, summarise(report, seconds), describe(report, seconds, given))
    return 1 if report.failed else 0


def summarise(report: ReindexReport, seconds: float) -> dict[str, Any]:
    """Return the report for machines."""
    return {
        "extractor_version": EXTRACTOR_VERSION,
        "done": report.done,
        "failed": report.failed,
        "gone": report.gone,
        "newer": report.newer,
        "skipped": report.skipped,
        "unchanged": report.unchanged,
        "differing": report.differences.files,
        "seconds": round(seconds, 3),
        "files_per_second": round(report.worked / max(seconds, 0.001), 2),
        "failures": report.failures,
        "differences": report.differences.paths,
    }


def describe(report: ReindexReport, seconds: float, given: argparse.Namespace) -> list[str]:
    """Return the report for people."""
    verb = "verified" if given.verify else "compared" if given.dry_run else "re-extracted"
    lines = [
        f"{report.done} files {verb} in {seconds:.1f} s ({report.worked / max(seconds, 0.001):.1f} a second), "
        f"{report.failed} failed."
    ]
    if report.gone or report.newer or report.skipped:
        lines.append(
            f"{report.gone} were deleted meanwhile, {report.newer} were made by a newer extractor and left alone, "
            f"{report.skipped} were done by another run."
        )
    if given.dry_run or given.verify:
        lines.append(f"{report.differences.files} files differ, in {len(report.differences.paths)} tags.")
    for path, entry in sorted(report.differences.paths.items(), key=lambda pair: (-_files(pair[1]), pair[0])):
        counts = ", ".join(f"{kind} in {entry[kind]}" for kind in ("added", "removed", "changed") if entry[kind])
        lines.append(f"  {path}: {counts}")
        lines += [f"    {each['dicom_id']}: {each['old']} -> {each['new']}" for each in entry["examples"]]
    lines += [f"  failed: {each['dicom_id']}: {each['error']}" for each in report.failures]
    return lines


def _files(entry: dict[str, Any]) -> int:
    return int(entry["added"] + entry["removed"] + entry["changed"])


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    return run_command(given, os.environ, lambda settings: work(settings, given))


if __name__ == "__main__":
    sys.exit(main())
