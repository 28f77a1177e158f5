"""Run a script and write which indices each batch of its DataLoaders had, one file per rank.

Usage: recorded_batches.py FOLDER SCRIPT [OPTION ...]
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from torch.utils.data._utils.fetch import _MapDatasetFetcher

folder, script, *options = sys.argv[1:]
batches: list[list[int]] = []
fetch = _MapDatasetFetcher.fetch


def recording(self: Any, indices: list[int]) -> Any:
    batches.append([int(index) for index in indices])
    return fetch(self, indices)


_MapDatasetFetcher.fetch = recording  # type: ignore[method-assign]
sys.argv = [script, *options]
runpy.run_path(script, run_name="__main__")
Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(batches))
