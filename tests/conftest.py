"""What all tests share: what they can import, and how many cases hypothesis draws.

Every folder of tests is on the path, so that a test finds helpers beside another one;
so are the project and its lessons, so that nothing has to be installed.
"""

import os
import sys
from pathlib import Path

from hypothesis import settings

# The arrays are small: more threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
FOLDERS = [path for path in sorted(TESTS.iterdir()) if path.is_dir()]
sys.path[:0] = [str(path) for path in (ROOT, ROOT / "lessons", TESTS, *FOLDERS)]

# "ci" draws the same cases every time; HYPOTHESIS_PROFILE=thorough draws new ones.
quick = {"max_examples": 40, "derandomize": True}
settings.register_profile("ci", deadline=None, database=None, **quick)
settings.register_profile("thorough", deadline=None, database=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
