"""The one trainer and what it owns: steps, stages, optimisers, checkpoints, tracking, progress."""
