"""Runs the command line out of the folder that this file is in. Its name is what kubectl calls the plugin by."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from nodeport_access.__main__ import main

main()
