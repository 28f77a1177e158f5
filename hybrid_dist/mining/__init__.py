"""Hard-negative mining: what a model confuses with the passage of a pair, but is not relevant."""
