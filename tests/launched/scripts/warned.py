"""Every rank warns, in the ways that Python and libraries do; the second rank warns once more."""

import logging
import os
import warnings

from transformers.utils.logging import get_logger

from hybrid_dist.tracking.warned import prefix_warnings_with_rank


def main() -> None:
    prefix_warnings_with_rank()
    for _ in range(3):
        warnings.warn("the moon is full", UserWarning, stacklevel=1)
    logging.getLogger("tides").warning("%d tides", 2)
    get_logger("transformers.tides").warning("high water")
    logging.getLogger("tides").info("nothing")
    if os.environ["RANK"] == "1":
        logging.getLogger("tides").error("%d%% of %s", 100, "the sea")


if __name__ == "__main__":
    main()
