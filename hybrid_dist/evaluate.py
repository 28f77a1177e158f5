"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process.
"""

from hybrid_dist.commands.evaluate import main

if __name__ == "__main__":
    main()
