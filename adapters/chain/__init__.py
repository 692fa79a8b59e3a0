"""The chain: nodes that are spoken to, and the mirror that keeps a contract there level with the ledger."""
