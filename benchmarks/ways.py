"""Ways that took turns, as rows of a table: median, quartiles, and the ratio to the first way's median."""

import statistics


def rows(times: dict[str, list[float]], digits: int) -> list[str]:
    """One Markdown row a way."""
    first = statistics.median(next(iter(times.values())))
    found = []
    for way, own in times.items():
        low, middle, high = (f"{value:.{digits}f}" for value in statistics.quantiles(own, n=4, method="inclusive"))
        found.append(f"| {way} | {middle} ({low} – {high}) | {statistics.median(own) / first:.2f} |")
    return found
