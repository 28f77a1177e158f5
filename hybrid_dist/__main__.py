"""`python -m hybrid_dist`: the command `hybrid-dist`."""

from hybrid_dist.cli import main

main()
