"""Check a machine or an allocation under a launcher: `accelerate launch -m hybrid_dist.doctor`."""

from hybrid_dist.commands.doctor import main

if __name__ == "__main__":
    main()
