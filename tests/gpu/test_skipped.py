"""On a GPU: an update is skipped on the device, and no host waits for a step."""

from pathlib import Path

import pytest
import torch

from tests.support.skipped import assert_skipped

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")


@pytest.mark.parametrize("launcher", ["single", "ddp", "fsdp2"])
def test_a_skipped_update_changes_nothing_and_is_not_waited_for(launcher: str, toy: Path) -> None:
    assert_skipped(launcher, 1 if launcher == "single" else torch.cuda.device_count(), toy)
