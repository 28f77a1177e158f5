"""Mine hard negatives: `accelerate launch -m hybrid_dist.mine STORE --model M --out STORE2`.

`hybrid-dist mine` takes the same options and runs one process.
"""

from hybrid_dist.commands.mine import main

if __name__ == "__main__":
    main()
