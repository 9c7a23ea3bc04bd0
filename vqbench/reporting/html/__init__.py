"""One static page a suite: the table, what it allows to be said, images, codebooks, curves and what was run.

``gather`` reads the store, ``contests`` and ``budgets`` judge, ``figures`` and ``images`` draw, ``page`` puts it into
HTML. ``numbers`` is the same without images, for programs. Nothing here imports torch.
"""
