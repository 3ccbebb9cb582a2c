"""python -m da_toolkit.prepare: look at data and get it ready, as `da-toolkit prepare`."""

from da_toolkit.cli import started

main = started("prepare")

if __name__ == "__main__":
    main()
