"""Settings that need no torch: stages, optimisers, and what every value must be."""
