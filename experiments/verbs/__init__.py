"""The verbs of the command line: each a record whose fields are the flags, with a `run` that calls public functions."""
