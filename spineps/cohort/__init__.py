"""Many scans: found, planned, run in worker processes, proven done, reported.

The one entry is ``spineps.cohort.run.run_cohort(dataset, settings, *, observer=None) -> CohortReport``, with ``dataset`` a path
and ``settings`` a :class:`spineps.cohort.settings.CohortSettings`; the observer is told events as the run goes on. It may be
called from a script without a ``__main__`` guard: workers are processes of their own, not copies of the caller.
"""
