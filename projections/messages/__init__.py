"""What the world is told of the ledger: public messages, apart from the facts they are made of, and versioned.

A message says what it says for as long as its version lives. Facts may change shape, and do not take messages with them.
"""
