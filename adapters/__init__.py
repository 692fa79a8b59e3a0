"""Everything Counterfoil drives: PostgreSQL, keys, passwords, payment providers."""
