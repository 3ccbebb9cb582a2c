"""python -m da_toolkit.compare: finished runs side by side, as `da-toolkit compare`."""

from da_toolkit.cli import started

main = started("compare")

if __name__ == "__main__":
    main()
