"""Domains, label spaces, transforms and the loader."""
