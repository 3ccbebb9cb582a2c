"""python -m da_toolkit.init: a recipe for your own photographs to start from, as `da-toolkit init`."""

from da_toolkit.cli import started

main = started("init")

if __name__ == "__main__":
    main()
