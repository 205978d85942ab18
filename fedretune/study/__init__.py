"""A study: one table over scenarios, methods and seeds, made of many runs.

What is run (`plan`), what of it is there (`folders`), how it is run on all cores (`runner`) and
the table made of it (`table`). None of them knows the app: the command line hands it in.
"""
