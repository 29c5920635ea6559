"""What other libraries do for the same job: one file for each, all with the same two functions."""
