"""python -m da_toolkit.demo: three runs on the street world, as `da-toolkit demo`."""

from da_toolkit.cli import started

main = started("demo")

if __name__ == "__main__":
    main()
