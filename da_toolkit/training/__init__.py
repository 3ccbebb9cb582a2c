"""The one trainer: images, step, losses, optimisers; nothing of a run's folder."""
