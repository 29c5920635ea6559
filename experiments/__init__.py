"""One file for each question, the reports that answer it, and the command line."""
