"""Kafka: the relay that tells topics of the ledger, and what it needs of the broker."""
