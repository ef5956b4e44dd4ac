"""Rows on their way: sampling, cleaning, measuring, from a source into an archive and back."""
