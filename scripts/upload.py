"""Upload files, folders and ZIPs to a running service; `--help` says how."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.commands.upload import main

if __name__ == "__main__":
    sys.exit(main(None, os.environ))
