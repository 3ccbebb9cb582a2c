"""python -m da_toolkit.export: a run's network as a file for others, as `da-toolkit export`."""

from da_toolkit.cli import started

main = started("export")

if __name__ == "__main__":
    main()
