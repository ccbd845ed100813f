"""Turns the files of a run into text, figures, a page, and images for trackers."""
