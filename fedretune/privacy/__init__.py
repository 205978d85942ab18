"""Privacy: what leaves, what it gives away, and what it costs to hide it."""
