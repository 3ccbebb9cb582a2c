"""A local page that shows runs while they train: folders are read again and again, nothing in them is changed."""
