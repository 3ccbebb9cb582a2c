"""Where MLflow is: `--tracking` read, checked, and shown without its password."""

from pathlib import Path
from urllib.parse import urlsplit

from da_toolkit.errors import UserError
from da_toolkit.files import disk_error
from da_toolkit.shareable import SQLITE, without_password

_VALID = "'mlflow' (SQLite in the runs folder), 'none', a server's address such as http://127.0.0.1:5000, or " + (
    "sqlite:///PATH"
)


def address_of(place: str, runs: Path) -> str:
    """MLflow's tracking URI for `place`, a value of `--tracking` other than "none"; nothing is asked.

    Args:
        place: "mlflow" (SQLite file `mlflow.db` in the runs folder, files in `mlartifacts` beside it), the address
            of an MLflow server, or another SQLite file.
        runs: the folder that holds all runs.

    Raises:
        UserError: see `check_address`; or a folder for SQLite that cannot be made.
    """
    check_address(place)
    if place == "mlflow":
        return _sqlite(runs / "mlflow.db")
    if place.startswith(SQLITE):
        return _sqlite(Path(place.removeprefix(SQLITE)))
    return place


def check_address(place: str) -> None:
    """Raises `UserError` for a value of `--tracking` that is neither a name, a server's address, nor a SQLite file."""
    if place in ("mlflow", "none"):
        return
    if place == SQLITE:
        raise UserError(f"--tracking {place!r} names no file. Valid: {_VALID}.")
    if place.startswith(SQLITE):
        return
    if not place.startswith(("http://", "https://")):
        raise UserError(f"--tracking {place!r} is unknown. Valid: {_VALID}.")
    try:
        parts = urlsplit(place)
        well_formed = bool(parts.hostname) and parts.port != 0 and not any(map(str.isspace, place))
    except ValueError:  # a port that is no number or above 65535, or half an IPv6 address
        well_formed = False
    if not well_formed:
        raise UserError(
            f"--tracking {without_password(place)!r} is no address: http:// or https://, a host, and perhaps a port "
            f"from 1 to 65535. Valid: {_VALID}."
        )


def _sqlite(file: Path) -> str:
    file = file.resolve()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(file.parent, error) from error
    return f"{SQLITE}{file}"
