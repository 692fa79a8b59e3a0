"""The read side: facts in, rows out. Each projection says what its tables are and what a fact does to them.

Nothing here writes: projectors do that, in batches. Beside each projection are the questions that its tables answer.
"""
