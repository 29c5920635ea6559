"""Ratios measured interleaved in one process; each benchmark is a command that writes its table."""
