"""Entry point: `accelerate launch -m hybrid_dist.train --config FILE`.

The function `hybrid_dist.train` has the same name: see docs/decisions.
"""

from hybrid_dist.commands.train import main

if __name__ == "__main__":
    main()
