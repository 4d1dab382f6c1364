"""The verbs of a run: one module for each, with functions of a :class:`~vaekit.runs.context.RunContext`.

:class:`vaekit.Run` is the public class; its methods call these functions.
"""
