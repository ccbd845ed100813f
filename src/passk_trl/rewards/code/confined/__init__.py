"""What runs beside the trainer: a worker, the process of a program and the process of its unit tests.

It imports the standard library alone and nothing from the rest of the package, so that a program finds nothing there.
"""
