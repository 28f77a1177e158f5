"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process.
"""

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading

if __name__ == "__main__":
    with report_errors("hybrid_dist.evaluate"), loading("hybrid_dist.evaluate"):
        from hybrid_dist.commands.evaluate import main
    main()
