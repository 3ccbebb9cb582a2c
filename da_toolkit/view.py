"""python -m da_toolkit.view: a page that shows runs while they train, as `da-toolkit view`."""

from da_toolkit.cli import started

main = started("view")

if __name__ == "__main__":
    main()
