"""What clients may ask for: commands, and handlers that load, decide and append."""
