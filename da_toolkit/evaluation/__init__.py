"""Scoring: confusion matrices at full label resolution, and the protocols that read them."""
