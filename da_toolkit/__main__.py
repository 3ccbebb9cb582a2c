"""python -m da_toolkit: what `da-toolkit` does."""

from da_toolkit.cli import main

if __name__ == "__main__":
    main()
