"""One static page a suite: the table, what it allows to be said, pictures, codebooks, curves and what was run.

``gather`` reads the store, ``contests`` and ``budgets`` judge, ``figures`` and ``pictures`` draw, ``page`` puts it into
HTML. ``numbers`` is the same without pictures, for programs. Nothing here imports torch.
"""
