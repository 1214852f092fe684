"""Word n-gram models: estimated, read, stored, and asked by the search."""
