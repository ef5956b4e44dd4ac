"""Readers and writers of the formats that vectors come in."""
