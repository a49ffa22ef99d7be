"""Tests of scripts/benchmark; run by ctest, or by
/usr/bin/python3 -m unittest discover -s tests/benchmark -t . from the project's directory."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
