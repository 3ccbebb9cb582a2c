"""python -m da_toolkit.track: send MLflow what it did not get, as `da-toolkit track`."""

from da_toolkit.cli import started

main = started("track")

if __name__ == "__main__":
    main()
