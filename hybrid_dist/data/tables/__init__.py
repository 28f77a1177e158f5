"""Tables of any columns as training pairs: a mapping of columns, and the files it reads."""

import hybrid_dist.data.sources  # noqa: F401 - imports this package: first from either side
