"""Fuzzing of every parser of what strangers send: `make fuzz`."""
