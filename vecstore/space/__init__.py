"""Which embedding space rows are from: cards, fingerprints, adapters between two spaces."""
