"""Segmentation networks, their backbones, and discriminators."""
