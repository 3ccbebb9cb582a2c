"""python -m da_toolkit.evaluate: score a finished run again, as `da-toolkit evaluate`."""

from da_toolkit.cli import started

main = started("evaluate")

if __name__ == "__main__":
    main()
