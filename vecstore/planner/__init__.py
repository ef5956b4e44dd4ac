"""The choice of a codec under a budget."""
