"""One run and its folder: from recipe to `result.json`, through stops, faults and resumptions."""
