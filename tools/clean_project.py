"""Remove what the project's commands made.

python tools/clean_project.py corpus metrics packages training
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from wasabi import msg

MADE = ("corpus", "encoders", "metrics", "packages", "training")


def main(arguments: list[str] | None = None) -> int:
    """Remove folders of the working directory, by name.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", choices=MADE)
    for name in parser.parse_args(arguments).folders:
        if Path(name).is_dir():
            shutil.rmtree(name)
            msg.good(f"Removed {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
