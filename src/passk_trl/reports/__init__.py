"""Turns the files of a run into text, figures and a page."""
