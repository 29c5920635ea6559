"""Check the row engine's guarantees on the user's own model, data type and device."""
