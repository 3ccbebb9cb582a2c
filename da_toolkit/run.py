"""python -m da_toolkit.run: train and score a recipe, as `da-toolkit run`."""

from da_toolkit.cli import started

main = started("run")

if __name__ == "__main__":
    main()
