"""List the shares of a patient, or revoke all of them."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.console import make_parser, print_summary, run_command
from service.commands.share import list_shares, revoke_shares
from service.resources import now, open_store_beside
from service.settings import Settings


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "share",
        "Lists the shares of a patient, or revokes all of them at once: from then on no process of the service lets "
        "anybody in by their links or sessions. What came by an inbox stays, and can still be accepted or declined. A "
        "revocation is written to the audit. It runs beside a service.",
    )
    parser.add_argument("what", choices=("list", "revoke"), help="what to do")
    parser.add_argument("--patient", required=True, metavar="ID", help="whose shares")
    return parser.parse_args(arguments)


async def work(settings: Settings, given: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    async with open_store_beside(settings, "scripts/share.py") as store:
        if given.what == "revoke":
            revoked = await revoke_shares(store, given.patient, now())
            print_summary(given, {"revoked": revoked}, [f"{len(revoked)} revoked.", *revoked])
            return 0
        shares = await list_shares(store, given.patient, now())
    lines = [
        f"{each.share_id}  {each.kind:5}  {each.state:7}  until {each.expires_at:%Y-%m-%d %H:%M} UTC  "
        f"opened {each.opens}x"
        for each in shares
    ]
    print_summary(given, {"shares": [asdict(each) for each in shares]}, lines or ["This patient has no shares."])
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    return run_command(given, os.environ, lambda settings: work(settings, given))


if __name__ == "__main__":
    sys.exit(main())
