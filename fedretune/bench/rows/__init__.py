"""The rows of the bench, a file each: a function from `Options` to a `Case`."""
