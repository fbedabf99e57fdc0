"""Write the names of the Standard's UIDs (PS3.6 Annex A) for the page: `service/web/static/page/uids.js`."""

from __future__ import annotations

import json
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

TARGET = Path(__file__).resolve().parents[2] / "service" / "web" / "static" / "page" / "uids.js"


def make_module() -> str:
    """Return the module: every UID of pydicom's dictionary with its name."""
    names = {uid: entry[0] for uid, entry in sorted(UID_dictionary.items())}
    lines = (f"  {json.dumps(uid)}: {json.dumps(name, ensure_ascii=False)}," for uid, name in names.items())
    return "\n".join(
        [
            "// The names of UIDs (PS3.6 Annex A). scripts/dev/make_uid_names.py writes this file.",
            "",
            "/** @type {Readonly<Record<string, string>>} */",
            "export const UID_NAMES = Object.freeze({",
            *lines,
            "});",
            "",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(make_module(), encoding="utf-8")
