"""What every report needs, whatever it reports: intervals, Markdown tables, the record of a run, stages as processes.

This package is under everything else of the project and imports nothing of it.
"""
