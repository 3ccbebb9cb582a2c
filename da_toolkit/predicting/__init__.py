"""Predictions of many images: what is named, what is written of each, and the way from one to the other."""
