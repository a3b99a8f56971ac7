"""``python -m subriem``."""

from subriem.cli import main

main()
