"""From the files of a run to text, figures, a page and images for trackers."""
