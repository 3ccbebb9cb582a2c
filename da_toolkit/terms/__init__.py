"""What terms are: the contract of methods and regularizers, and what a step and a stage show them."""
