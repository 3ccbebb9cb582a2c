"""python -m da_toolkit.predict: classes of your own images, as `da-toolkit predict`."""

from da_toolkit.cli import started

main = started("predict")

if __name__ == "__main__":
    main()
