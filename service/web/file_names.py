"""The names that clients give their files, as far as they are kept."""

from __future__ import annotations

import re

MAX_FILE_NAME = 255
"""Characters of a client's file name that are kept."""

UNNAMED = "unnamed.dcm"


def kept_name(sent: str | None) -> str:
    """Return a client's file name without its directories, and without what could act on a terminal.

    Parameters
    ----------
    sent : str or None
        The name as it was sent.
    """
    name = re.split(r"[/\\]", sent or "")[-1]
    kept = "".join(each for each in name if each.isprintable())
    return kept[:MAX_FILE_NAME].strip() or UNNAMED
