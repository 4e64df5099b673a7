"""From files to results: what the command line runs, what it writes, and the one-page report.

Nothing here imports HyperSpy or exspy before an analysis begins.
"""
